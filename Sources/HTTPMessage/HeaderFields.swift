// Header fields as they came over the wire: names keep their case, values keep their bytes.
//
// One allocation holds the text of all fields and another their positions, so that a message of thirty fields needs two
// allocations and can be forwarded without copying field by field. The text may be the block that came over the wire:
// then no field is copied, and the bytes between fields (colons, line ends) are kept but never shown. In lists of our
// own, too, each field is a line of HTTP/1.1, so that runs of fields can be copied from a received message into one to
// send.

/// An ordered list of header fields; names may repeat. Lookup ignores ASCII case (RFC 9110 section 5.1).
public struct HeaderFields: Sendable {
  /// The place of one field in ``storage``.
  @usableFromInline struct Position: Sendable {
    @usableFromInline var nameStart: UInt32
    @usableFromInline var nameLength: UInt32
    /// Never before the end of the name.
    @usableFromInline var valueStart: UInt32
    @usableFromInline var valueLength: UInt32

    @inlinable init(nameStart: Int, nameLength: Int, valueStart: Int, valueLength: Int) {
      self.nameStart = UInt32(truncatingIfNeeded: nameStart)
      self.nameLength = UInt32(truncatingIfNeeded: nameLength)
      self.valueStart = UInt32(truncatingIfNeeded: valueStart)
      self.valueLength = UInt32(truncatingIfNeeded: valueLength)
    }

    @inlinable var nameEnd: Int { Int(nameStart) + Int(nameLength) }
    @inlinable var end: Int { Int(valueStart) + Int(valueLength) }

    /// The position of the same field in a text where it is `offset` bytes further on.
    @inlinable func moved(by offset: Int) -> Position {
      Position(
        nameStart: Int(nameStart) + offset, nameLength: Int(nameLength), valueStart: Int(valueStart) + offset,
        valueLength: Int(valueLength))
    }
  }

  /// Names and values: each field's name comes before its value, with other bytes in between.
  @usableFromInline var storage: [UInt8] = []
  @usableFromInline var positions: [Position] = []
  @usableFromInline var bytesOfFields = 0
  /// True where each field is a line, `name: value` with CR and LF, directly after the one before. This is so for lists
  /// that we make, and for most received blocks.
  @usableFromInline var isInLines = true

  @inlinable public init() {}

  @inlinable public init(reservingBytes bytes: Int, fields: Int) {
    storage.reserveCapacity(bytes + Self.beside * fields)
    positions.reserveCapacity(fields)
  }

  /// Bytes of a line beside its name and value.
  @usableFromInline static let beside = 4

  /// Makes fields from text, for messages of our own.
  public init(_ fields: [(name: String, value: String)]) {
    for field in fields { append(name: field.name, value: field.value) }
  }

  /// Takes a block of text as it came; ``append(nameAt:valueAt:)`` then adds the places of its fields.
  @inlinable public init(block: [UInt8], fields: Int) {
    storage = block
    positions.reserveCapacity(fields)
  }

  @inlinable public var count: Int { positions.count }
  @inlinable public var isEmpty: Bool { positions.isEmpty }

  /// Bytes of all names and values together.
  @inlinable public var byteCount: Int { bytesOfFields }

  @inlinable public mutating func append(name: String, value: String) {
    append(name: name.utf8, value: value.utf8)
  }

  /// Appends a field of our own, whose name is a literal.
  @inlinable public mutating func append(_ name: StaticString, _ value: String) {
    let start = storage.count
    name.withUTF8Buffer { storage.append(contentsOf: $0) }
    let middle = storage.count
    storage.append(0x3A)
    storage.append(0x20)
    storage.append(contentsOf: value.utf8)
    addLine(start, middle)
  }

  @inlinable public mutating func append(name: some Collection<UInt8>, value: some Collection<UInt8>) {
    let start = storage.count
    storage.append(contentsOf: name)
    let middle = storage.count
    storage.append(0x3A)
    storage.append(0x20)
    storage.append(contentsOf: value)
    addLine(start, middle)
  }

  /// The same for bytes in arrays, without the cost of a generic call; parsers use this.
  @inlinable public mutating func append(nameBytes name: ArraySlice<UInt8>, valueBytes value: ArraySlice<UInt8>) {
    let start = storage.count
    storage.append(contentsOf: name)
    storage.append(0x3A)
    storage.append(0x20)
    storage.append(contentsOf: value)
    addLine(start, start + name.count)
  }

  /// Adds a field of the block that ``init(block:fields:)`` took. The ranges must be in the block, the name's before
  /// the value's.
  @inlinable public mutating func append(nameAt name: Range<Int>, valueAt value: Range<Int>) {
    precondition(
      name.lowerBound >= 0 && name.upperBound <= value.lowerBound && value.upperBound <= storage.count,
      "the field does not lie in the block")
    let position = Position(
      nameStart: name.lowerBound, nameLength: name.count, valueStart: value.lowerBound, valueLength: value.count)
    if isInLines { isInLines = isNextLine(position) }
    positions.append(position)
    bytesOfFields += name.count + value.count
  }

  /// True where the field is a line directly after the last one.
  @inlinable func isNextLine(_ position: Position) -> Bool {
    let (colon, end) = (position.nameEnd, position.end)
    return Int(position.valueStart) == colon + 2 && storage[colon] == 0x3A && storage[colon + 1] == 0x20
      && end + 2 <= storage.count && storage[end] == 0x0D && storage[end + 1] == 0x0A
      && isBehindLast(Int(position.nameStart))
  }

  @inlinable func isBehindLast(_ start: Int) -> Bool { positions.last.map { $0.end + 2 == start } ?? true }

  /// Ends the line that begins at `start`, with its colon at `colon` and all of its value.
  @inlinable mutating func addLine(_ start: Int, _ colon: Int) {
    let valueStart = colon + 2
    let position = Position(
      nameStart: start, nameLength: colon - start, valueStart: valueStart, valueLength: storage.count - valueStart)
    storage.append(0x0D)
    storage.append(0x0A)
    if isInLines { isInLines = isBehindLast(start) }
    positions.append(position)
    bytesOfFields += Int(position.nameLength) + Int(position.valueLength)
  }

  /// Appends the field at `index` of another list, without going through text.
  @inlinable public mutating func append(fieldAt index: Int, of other: HeaderFields) {
    append(fields: index..<index + 1, of: other)
  }

  /// Appends every field of another list.
  @inlinable public mutating func append(contentsOf other: HeaderFields) { append(fields: 0..<other.count, of: other) }

  /// Appends a run of fields of another list: with one copy where they are lines there.
  public mutating func append(fields run: Range<Int>, of other: HeaderFields) {
    guard !run.isEmpty else { return }
    guard other.isInLines else {
      for index in run { append(nameBytes: other.nameBytes(at: index), valueBytes: other.valueBytes(at: index)) }
      return
    }
    let lines = other.lines(run)
    if isInLines { isInLines = isBehindLast(storage.count) }
    let offset = storage.count - lines.lowerBound
    storage.append(contentsOf: other.storage[lines])
    for index in run {
      let position = other.positions[index]
      positions.append(position.moved(by: offset))
      bytesOfFields += Int(position.nameLength) + Int(position.valueLength)
    }
  }

  /// The range of these fields' lines, line ends included. `run` must not be empty, and the list must be in lines.
  @usableFromInline func lines(_ run: Range<Int>) -> Range<Int> {
    Int(positions[run.lowerBound].nameStart)..<positions[run.upperBound - 1].end + 2
  }

  /// Appends these fields to a text as lines of HTTP/1.1: `name: value`, CR, LF. The caller must know that their bytes
  /// are allowed in a message.
  public func write(_ run: Range<Int>, asLinesTo text: inout [UInt8]) {
    guard !run.isEmpty else { return }
    guard !isInLines else { return text.append(contentsOf: storage[lines(run)]) }
    for index in run {
      text.append(contentsOf: nameBytes(at: index))
      text.append(0x3A)
      text.append(0x20)
      text.append(contentsOf: valueBytes(at: index))
      text.append(0x0D)
      text.append(0x0A)
    }
  }

  /// The bytes of the name at `index`, in the sender's case.
  @inlinable public func nameBytes(at index: Int) -> ArraySlice<UInt8> {
    let position = positions[index]
    return storage[Int(position.nameStart)..<Int(position.nameStart) + Int(position.nameLength)]
  }

  /// The bytes of the value at `index`.
  @inlinable public func valueBytes(at index: Int) -> ArraySlice<UInt8> {
    let position = positions[index]
    let start = Int(position.valueStart)
    return storage[start..<start + Int(position.valueLength)]
  }

  @inlinable public func name(at index: Int) -> String { String(decoding: nameBytes(at: index), as: UTF8.self) }
  @inlinable public func value(at index: Int) -> String { String(decoding: valueBytes(at: index), as: UTF8.self) }

  /// True where the name at `index` is `lowercased`, a name in lower-case ASCII.
  @inlinable public func nameIs(_ lowercased: StaticString, at index: Int) -> Bool {
    let position = positions[index]
    guard Int(position.nameLength) == lowercased.utf8CodeUnitCount else { return false }
    return lowercased.withUTF8Buffer { expected in
      var at = Int(position.nameStart)
      for byte in expected {
        let found = storage[at]
        let folded = found >= 0x41 && found <= 0x5A ? found | 0x20 : found
        if folded != byte { return false }
        at += 1
      }
      return true
    }
  }

  /// True where the name at `index` starts with `lowercased`, a text in lower-case ASCII.
  @inlinable public func nameStarts(with lowercased: StaticString, at index: Int) -> Bool {
    let position = positions[index]
    guard Int(position.nameLength) >= lowercased.utf8CodeUnitCount else { return false }
    return lowercased.withUTF8Buffer { expected in
      var at = Int(position.nameStart)
      for byte in expected {
        let found = storage[at]
        let folded = found >= 0x41 && found <= 0x5A ? found | 0x20 : found
        if folded != byte { return false }
        at += 1
      }
      return true
    }
  }

  /// Bytes of the name at `index`.
  @inlinable public func nameLength(at index: Int) -> Int { Int(positions[index].nameLength) }

  /// True where the value at `index` starts with the bytes of `text`.
  @inlinable public func valueStarts(with text: StaticString, at index: Int) -> Bool {
    let value = valueBytes(at: index)
    return text.withUTF8Buffer { value.starts(with: $0) }
  }

  /// The position of the first field called `lowercased`, a name in lower-case ASCII.
  @inlinable public func firstIndex(of lowercased: StaticString) -> Int? {
    for index in positions.indices where nameIs(lowercased, at: index) { return index }
    return nil
  }

  /// The value of the first field called `lowercased`, as text.
  @inlinable public func first(_ lowercased: StaticString) -> String? {
    firstIndex(of: lowercased).map { value(at: $0) }
  }

  /// The value of the first field whose name equals `name` when ASCII case is ignored.
  @inlinable public func first(named name: String) -> String? {
    let wanted = name.utf8
    let length = wanted.count
    for index in positions.indices where Int(positions[index].nameLength) == length {
      if zip(nameBytes(at: index), wanted).allSatisfy({ asciiLowercased($0) == asciiLowercased($1) }) {
        return value(at: index)
      }
    }
    return nil
  }

  @inlinable public func contains(_ lowercased: StaticString) -> Bool { firstIndex(of: lowercased) != nil }

  /// All fields except those of one name.
  public func without(_ lowercased: StaticString) -> HeaderFields {
    var rest = HeaderFields()
    for index in 0..<count where !nameIs(lowercased, at: index) { rest.append(fieldAt: index, of: self) }
    return rest
  }

  /// The fields as pairs of text, for tests and for code off the hot path.
  public var pairs: [(name: String, value: String)] {
    positions.indices.map { (name(at: $0), value(at: $0)) }
  }
}

/// The byte in lower case where it is an ASCII capital.
@inlinable public func asciiLowercased(_ byte: UInt8) -> UInt8 {
  byte >= 0x41 && byte <= 0x5A ? byte | 0x20 : byte
}
