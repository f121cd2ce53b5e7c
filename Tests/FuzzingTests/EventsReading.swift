// Server-sent events. Wherever the bytes are cut, the same frames come out, and no byte is lost or counted twice.
@testable import ProviderWire

enum EventsReading {
  static func flaw(in bytes: [UInt8]) -> String? {
    let difference = Cuts.difference(bytes) { StreamReading($0) }
    if let difference { return difference }
    let counted = StreamReading([bytes[...]]).bytes
    return counted == bytes.count ? nil : "\(counted) bytes of \(bytes.count)"
  }
}

private struct StreamReading: Equatable {
  /// What each frame with data says, and whether it calls itself an error.
  var frames: [[UInt8]] = []
  var errors: [Bool] = []
  /// Bytes of all frames, those without data too.
  var bytes = 0

  init(_ pieces: [ArraySlice<UInt8>]) {
    var scanner = EventStreamScanner()
    for piece in pieces {
      scanner.take(piece)
      if scanner.strayLineFeed { bytes += 1 }
      while let frame = scanner.nextFrame() { note(frame) }
      scanner.park()
    }
    if let frame = scanner.lastFrame() { note(frame) }
  }

  private mutating func note(_ frame: EventStreamScanner.Frame) {
    bytes += frame.range.count
    // A frame without data says nothing: only its bytes count.
    guard frame.hasData else { return }
    frames.append(Array(frame.data))
    errors.append(frame.isError)
  }
}
