// Writes JSON text: for the API and the log. Keys come in the order in which they are written.
import TextForms

public struct JSONWriter {
  public private(set) var bytes: [UInt8] = []
  private var needsComma = false

  public init() { bytes.reserveCapacity(512) }

  public mutating func object(_ members: (inout JSONWriter) -> Void) {
    open(UInt8(ascii: "{"))
    members(&self)
    close(UInt8(ascii: "}"))
  }

  public mutating func array<Element>(_ elements: some Sequence<Element>, _ write: (inout JSONWriter, Element) -> Void)
  {
    open(UInt8(ascii: "["))
    for element in elements { write(&self, element) }
    close(UInt8(ascii: "]"))
  }

  public mutating func key(_ name: StaticString) {
    comma()
    bytes.append(UInt8(ascii: "\""))
    name.withUTF8Buffer { bytes.append(contentsOf: $0) }
    bytes.append(contentsOf: "\":".utf8)
    needsComma = false
  }

  public mutating func value(_ text: String?) {
    comma()
    if let text { JSONString.append(text, to: &bytes) } else { bytes.append(contentsOf: "null".utf8) }
  }

  public mutating func value(_ number: (some BinaryInteger)?) {
    comma()
    bytes.append(contentsOf: (number.map { String($0) } ?? "null").utf8)
  }

  public mutating func value(_ flag: Bool) {
    comma()
    bytes.append(contentsOf: (flag ? "true" : "false").utf8)
  }

  public mutating func member(_ name: StaticString, _ text: String?) {
    key(name)
    value(text)
  }

  public mutating func member(_ name: StaticString, _ number: (some BinaryInteger)?) {
    key(name)
    value(number)
  }

  public mutating func member(_ name: StaticString, _ flag: Bool) {
    key(name)
    value(flag)
  }

  public mutating func null() {
    comma()
    bytes.append(contentsOf: "null".utf8)
  }

  private mutating func open(_ mark: UInt8) {
    comma()
    bytes.append(mark)
    needsComma = false
  }

  private mutating func close(_ mark: UInt8) {
    bytes.append(mark)
    needsComma = true
  }

  private mutating func comma() {
    if needsComma { bytes.append(UInt8(ascii: ",")) }
    needsComma = true
  }
}
