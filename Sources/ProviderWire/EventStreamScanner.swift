// Splits a server-sent event stream into frames (WHATWG HTML section 9.2), however its bytes are split into pieces. A
// frame within one piece is not copied; at most one incomplete frame is kept.

/// One scanner per stream. Feed with `take`, ask `nextFrame` until nil, then `park`.
struct EventStreamScanner {
  /// A frame's bytes, blank line included, and what its `data:` lines say.
  struct Frame {
    /// Where it lies in the scanner's bytes.
    var range: Range<Int>
    /// The data lines, joined by line feeds; empty where there are none.
    var data: ArraySlice<UInt8>
    var hasData: Bool
    /// True where its `event:` line is `error`.
    var isError: Bool
  }

  private static let smallFrame = 64 << 10

  /// The bytes to scan; after `park` they begin with the first incomplete frame.
  private(set) var bytes: ArraySlice<UInt8> = []
  /// The place where the current frame starts.
  private(set) var frameStart = 0
  private var lineStart = 0
  private var scan = 0
  private var dataLines: [Range<Int>] = []
  /// True where a line of the current frame is `event: error`.
  private var saysError = false
  /// True where `bytes` is our own memory, not the sender's.
  private var isOwned = false
  private var isFirstFrame = true
  /// The place of the next carriage return; the end where there is none, as in most streams: then each line needs only
  /// one search.
  private var nextReturn = 0
  /// True where the last byte was a carriage return that ended a line: a line feed right after it belongs to it.
  private var sawReturn = false
  /// True where the bytes so far end with a carriage return: it is not known whether the line's end is complete.
  var endsWithReturn: Bool { sawReturn }
  /// True once a frame had an `id:` line.
  private(set) var sawID = false
  /// True where the bytes begin with a line feed that belongs to the frame before; see `nextFrame`.
  private(set) var strayLineFeed = false

  /// Bytes that are kept in our own memory.
  var keptBytes: Int { isOwned ? bytes.count : 0 }
  /// The number of bytes of the incomplete frame.
  var pendingCount: Int { bytes.endIndex - frameStart }
  /// The bytes of the incomplete frame.
  var pending: ArraySlice<UInt8> { bytes[frameStart...] }

  /// Adds the next piece.
  mutating func take(_ piece: ArraySlice<UInt8>) {
    if bytes.isEmpty {
      bytes = piece
      isOwned = false
      frameStart = piece.startIndex
      lineStart = frameStart
      scan = frameStart
    } else {
      // The buffer of a large frame grows only once more, to the most that is kept of a frame: growing by doubling
      // would leave as much free heap behind, in sizes that the next large frame cannot use.
      if bytes.count >= Self.smallFrame, bytes.count < UsageTap.frameLimit {
        bytes.reserveCapacity(max(UsageTap.frameLimit + Self.smallFrame, bytes.count + piece.count))
      }
      bytes.append(contentsOf: piece)
    }
    strayLineFeed = false
    findReturn(from: scan)
    if sawReturn, let first = piece.first {
      sawReturn = false
      // Only where the carriage return ended the frame, its line feed is not already after a line start.
      if first == 0x0A, scan < bytes.endIndex, bytes[scan] == 0x0A {
        scan += 1
        lineStart = scan
        if dataLines.isEmpty, frameStart == scan - 1 {
          frameStart = scan
          strayLineFeed = true
        }
      }
    }
  }

  private mutating func findReturn(from start: Int) {
    nextReturn = ByteSearch.first(0x0D, in: bytes, from: start) ?? bytes.endIndex
  }

  /// The next complete frame; nil where there is none.
  mutating func nextFrame() -> Frame? {
    while true {
      var end = ByteSearch.first(0x0A, in: bytes, from: scan)
      var width = 1
      if nextReturn < end ?? bytes.endIndex {
        let found = nextReturn
        end = found
        if found + 1 < bytes.endIndex {
          if bytes[found + 1] == 0x0A { width = 2 }
        } else {
          sawReturn = true
        }
        findReturn(from: found + 1)
      }
      guard let end else {
        scan = bytes.endIndex
        return nil
      }
      let line = lineStart..<end
      lineStart = end + width
      scan = lineStart
      if !line.isEmpty {
        noteData(line)
        continue
      }
      let frame = Frame(
        range: frameStart..<lineStart, data: data(), hasData: !dataLines.isEmpty, isError: saysError)
      frameStart = lineStart
      saysError = false
      dataLines.removeAll(keepingCapacity: true)
      isFirstFrame = false
      return frame
    }
  }

  /// The incomplete frame at the end of the stream, for servers that omit the last blank line; nil where it is empty.
  mutating func lastFrame() -> Frame? {
    guard frameStart < bytes.endIndex else { return nil }
    if lineStart < bytes.endIndex { noteData(lineStart..<bytes.endIndex) }
    let frame = Frame(
      range: frameStart..<bytes.endIndex, data: data(), hasData: !dataLines.isEmpty, isError: saysError)
    reset()
    return frame
  }

  /// Forgets the frames that were handed out, and keeps a copy of the incomplete one.
  mutating func park() {
    if frameStart == bytes.endIndex {
      reset()
      return
    }
    if isOwned, frameStart == bytes.startIndex { return }
    let moved = frameStart
    bytes = ArraySlice(Array(bytes[moved...]))
    isOwned = true
    frameStart = 0
    lineStart -= moved
    scan -= moved
    for index in dataLines.indices {
      dataLines[index] = dataLines[index].lowerBound - moved..<dataLines[index].upperBound - moved
    }
  }

  /// Forgets the incomplete frame, which is too large to be kept.
  mutating func abandon() { reset() }

  private mutating func reset() {
    bytes = []
    saysError = false
    dataLines.removeAll(keepingCapacity: true)
    frameStart = 0
    lineStart = 0
    scan = 0
  }

  private mutating func noteData(_ line: Range<Int>) {
    var start = line.lowerBound
    if isFirstFrame, line.count >= 3, bytes[start] == 0xEF, bytes[start + 1] == 0xBB, bytes[start + 2] == 0xBF {
      start += 3
    }
    guard line.upperBound - start >= 4, bytes[start] == UInt8(ascii: "d"), bytes[start + 1] == UInt8(ascii: "a"),
      bytes[start + 2] == UInt8(ascii: "t"), bytes[start + 3] == UInt8(ascii: "a")
    else {
      noteEvent(start..<line.upperBound)
      return
    }
    start += 4
    if start < line.upperBound {
      guard bytes[start] == UInt8(ascii: ":") else { return }
      start += 1
      if start < line.upperBound, bytes[start] == UInt8(ascii: " ") { start += 1 }
    }
    dataLines.append(start..<line.upperBound)
  }

  private mutating func noteEvent(_ line: Range<Int>) {
    guard line.count == 12 || line.count == 11, bytes[line.lowerBound] == UInt8(ascii: "e") else {
      if line.count >= 2, bytes[line.lowerBound] == UInt8(ascii: "i"), bytes[line.lowerBound + 1] == UInt8(ascii: "d") {
        sawID = true
      }
      return
    }
    if bytes[line].elementsEqual("event: error".utf8) || bytes[line].elementsEqual("event:error".utf8) {
      saysError = true
    }
  }

  private func data() -> ArraySlice<UInt8> {
    guard let first = dataLines.first else { return [] }
    if dataLines.count == 1 { return bytes[first] }
    var joined: [UInt8] = []
    for (index, line) in dataLines.enumerated() {
      if index > 0 { joined.append(0x0A) }
      joined.append(contentsOf: bytes[line])
    }
    return joined[...]
  }
}
