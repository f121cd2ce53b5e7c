// Reads server-sent events from bytes as they come.
//
// Promises: events may be split over reads anywhere; what is longer than the limit is left out, and reading goes on after it.

public struct EventStream: Sendable {
  public struct Event: Equatable, Sendable {
    public var name: String
    public var data: [UInt8]
  }

  /// A snapshot of the largest fleets has less than a mebibyte.
  private static let longest = 16 << 20

  private var line: [UInt8] = []
  private var name = ""
  private var data: [UInt8] = []
  private var isTooLong = false

  public init() {}

  /// The events that these bytes complete.
  public mutating func events(from bytes: ArraySlice<UInt8>) -> [Event] {
    var events: [Event] = []
    var rest = bytes
    while let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
      take(rest[..<end])
      rest = rest[(end + 1)...]
      if line.last == UInt8(ascii: "\r") { line.removeLast() }
      if line.isEmpty {
        if !data.isEmpty, !isTooLong { events.append(Event(name: name, data: data)) }
        (name, data, isTooLong) = ("", [], false)
      } else if let value = value(of: "event") {
        name = String(decoding: value, as: UTF8.self)
      } else if let value = value(of: "data") {
        if !data.isEmpty { data.append(UInt8(ascii: "\n")) }
        data += value
      }
      line.removeAll(keepingCapacity: true)
    }
    take(rest)
    return events
  }

  private mutating func take(_ bytes: ArraySlice<UInt8>) {
    if line.count + data.count + bytes.count > EventStream.longest { (data, line, isTooLong) = ([], [], true) }
    if !isTooLong { line += bytes }
  }

  private func value(of field: String) -> ArraySlice<UInt8>? {
    guard line.starts(with: field.utf8), line.dropFirst(field.utf8.count).first == UInt8(ascii: ":") else { return nil }
    let value = line.dropFirst(field.utf8.count + 1)
    return value.first == UInt8(ascii: " ") ? value.dropFirst() : value
  }
}
