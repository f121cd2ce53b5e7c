// Writes JSON text (RFC 8259): the API's answers, the log's lines, the broker's own errors and lists of models. Keys
// come in the order in which they are written, without indentation. `JSONString` escapes strings.

//
// What is written by the ten thousand, such as the status of hundreds of tenants, is written without making text of it
// first: numbers, amounts of money and times.

public struct JSONWriter {
  public private(set) var bytes: [UInt8] = []
  private var needsComma = false

  /// - Parameter capacity: the expected number of bytes.
  public init(reserving capacity: Int = 512) { bytes.reserveCapacity(capacity) }

  public mutating func object(_ members: (inout JSONWriter) -> Void) {
    open(UInt8(ascii: "{"))
    members(&self)
    close(UInt8(ascii: "}"))
  }

  @inlinable public mutating func array<Element>(
    _ elements: some Sequence<Element>, _ write: (inout JSONWriter, Element) -> Void
  ) {
    open(UInt8(ascii: "["))
    for element in elements { write(&self, element) }
    close(UInt8(ascii: "]"))
  }

  public mutating func key(_ name: StaticString) {
    comma()
    bytes.append(UInt8(ascii: "\""))
    name.withUTF8Buffer { bytes.append(contentsOf: $0) }
    bytes.append(UInt8(ascii: "\""))
    bytes.append(UInt8(ascii: ":"))
    needsComma = false
  }

  /// Writes a key that is no literal; it is escaped.
  public mutating func key(named name: String) {
    comma()
    JSONString.append(name, to: &bytes)
    bytes.append(UInt8(ascii: ":"))
    needsComma = false
  }

  public mutating func value(_ text: String?) {
    guard let text else { return null() }
    comma()
    JSONString.append(text, to: &bytes)
  }

  @inlinable public mutating func value(_ number: (some BinaryInteger)?) {
    guard let number else { return null() }
    if let number = Int64(exactly: number) { whole(number) } else { long(String(number)) }
  }

  @usableFromInline mutating func whole(_ number: Int64) {
    comma()
    DecimalText.append(number, to: &bytes)
  }

  /// Digits of a number beyond 64 bits.
  @usableFromInline mutating func long(_ digits: String) {
    comma()
    bytes.append(contentsOf: digits.utf8)
  }

  /// Writes a decimal with nine places between quotation marks: `"0.012300000"`.
  public mutating func value(billionths number: Int64?) {
    guard let number else { return null() }
    comma()
    bytes.append(UInt8(ascii: "\""))
    DecimalText.append(billionths: number, to: &bytes)
    bytes.append(UInt8(ascii: "\""))
  }

  /// Writes an instant as RFC 3339 with milliseconds, in UTC.
  /// - Parameter time: nanoseconds since 1970.
  public mutating func value(time: Int64?) {
    guard let time else { return null() }
    comma()
    bytes.append(UInt8(ascii: "\""))
    RFC3339.append(time, to: &bytes)
    bytes.append(UInt8(ascii: "\""))
  }

  /// Writes a number that may have a fraction; null for nil and for what is no finite number.
  public mutating func value(decimal number: Double?) {
    guard let number, number.isFinite else { return null() }
    comma()
    let isWhole = number == number.rounded() && number.magnitude < 1e15
    bytes.append(contentsOf: (isWhole ? String(Int64(number)) : "\(number)").utf8)
  }

  public mutating func value(_ flag: Bool) {
    comma()
    bytes.append(contentsOf: (flag ? "true" : "false").utf8)
  }

  public mutating func member(_ name: StaticString, _ text: String?) {
    key(name)
    value(text)
  }

  @inlinable public mutating func member(_ name: StaticString, _ number: (some BinaryInteger)?) {
    key(name)
    value(number)
  }

  public mutating func member(_ name: StaticString, billionths number: Int64?) {
    key(name)
    value(billionths: number)
  }

  public mutating func member(_ name: StaticString, time: Int64?) {
    key(name)
    value(time: time)
  }

  public mutating func member(_ name: StaticString, _ flag: Bool) {
    key(name)
    value(flag)
  }

  /// A member whose value is an object.
  public mutating func object(_ name: StaticString, _ members: (inout JSONWriter) -> Void) {
    key(name)
    object(members)
  }

  /// Writes text around JSON texts, such as an event's frame or a line feed.
  public mutating func raw(_ text: StaticString) {
    text.withUTF8Buffer { bytes.append(contentsOf: $0) }
    needsComma = false
  }

  public mutating func null() {
    comma()
    ("null" as StaticString).withUTF8Buffer { bytes.append(contentsOf: $0) }
  }

  @usableFromInline mutating func open(_ mark: UInt8) {
    comma()
    bytes.append(mark)
    needsComma = false
  }

  @usableFromInline mutating func close(_ mark: UInt8) {
    bytes.append(mark)
    needsComma = true
  }

  private mutating func comma() {
    if needsComma { bytes.append(UInt8(ascii: ",")) }
    needsComma = true
  }
}
