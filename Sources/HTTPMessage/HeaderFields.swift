// Header fields as they came over the wire: names keep their case, values keep their bytes.
//
// One allocation holds the text of all fields and one their positions, so that a message of thirty
// fields costs two allocations and can be forwarded without being copied field by field. That text may be the block that came over the
// wire: then no field is copied at all, and what stands between them (colons, line ends) is kept but never shown.

/// An ordered list of header fields; names may repeat. Lookup ignores ASCII case (RFC 9110 section 5.1).
public struct HeaderFields: Sendable {
  /// Where one field lies in ``storage``.
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

    /// From the name's first byte to the value's last, with what stands between them.
    @inlinable var whole: Range<Int> { Int(nameStart)..<Int(valueStart) + Int(valueLength) }

    /// The same field in a text in which it begins at `start`.
    @inlinable func moved(to start: Int) -> Position {
      Position(
        nameStart: start, nameLength: Int(nameLength), valueStart: start + Int(valueStart - nameStart),
        valueLength: Int(valueLength))
    }
  }

  /// Names and values, each field's name in front of its value; where the text is a block that came, other bytes between them.
  @usableFromInline var storage: [UInt8] = []
  @usableFromInline var positions: [Position] = []
  @usableFromInline var bytesOfFields = 0

  @inlinable public init() {}

  @inlinable public init(reservingBytes bytes: Int, fields: Int) {
    storage.reserveCapacity(bytes)
    positions.reserveCapacity(fields)
  }

  /// Makes fields from text, for messages of our own.
  public init(_ fields: [(name: String, value: String)]) {
    for field in fields { append(name: field.name, value: field.value) }
  }

  /// Takes text that already lies as this type keeps it: name, value, name, value. `lengths` are theirs, in order, and must
  /// add up to the text's.
  public init(packed text: [UInt8], lengths: [(name: UInt32, value: UInt32)]) {
    precondition(lengths.reduce(0) { $0 + Int($1.name) + Int($1.value) } == text.count, "lengths do not fit the text")
    storage = text
    bytesOfFields = text.count
    positions.reserveCapacity(lengths.count)
    var start = 0
    for length in lengths {
      let (name, value) = (Int(length.name), Int(length.value))
      positions.append(Position(nameStart: start, nameLength: name, valueStart: start + name, valueLength: value))
      start += name + value
    }
  }

  /// Takes a block of text as it came; ``append(nameAt:valueAt:)`` then says where in it the fields lie.
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

  @inlinable public mutating func append(name: some Collection<UInt8>, value: some Collection<UInt8>) {
    let start = storage.count
    storage.append(contentsOf: name)
    let middle = storage.count
    storage.append(contentsOf: value)
    add(start, middle, middle, storage.count)
  }

  /// The same for bytes that lie in arrays: the way of the parsers, without the cost of a generic call.
  @inlinable public mutating func append(nameBytes name: ArraySlice<UInt8>, valueBytes value: ArraySlice<UInt8>) {
    let start = storage.count
    storage.append(contentsOf: name)
    storage.append(contentsOf: value)
    add(start, start + name.count, start + name.count, storage.count)
  }

  /// Adds a field of the block that ``init(block:fields:)`` took. The ranges must lie in it, the name's in front of the value's.
  @inlinable public mutating func append(nameAt name: Range<Int>, valueAt value: Range<Int>) {
    precondition(
      name.lowerBound >= 0 && name.upperBound <= value.lowerBound && value.upperBound <= storage.count,
      "the field does not lie in the block")
    add(name.lowerBound, name.upperBound, value.lowerBound, value.upperBound)
  }

  /// Appends a field of a line as it came. The ranges count from the line's first byte, and lie as ``append(nameAt:valueAt:)`` says.
  @inlinable public mutating func append(line: ArraySlice<UInt8>, nameAt name: Range<Int>, valueAt value: Range<Int>) {
    let start = storage.count - name.lowerBound
    storage.append(contentsOf: line[line.startIndex + name.lowerBound..<line.startIndex + value.upperBound])
    append(nameAt: name.lowerBound + start..<name.upperBound + start, valueAt: value.lowerBound + start..<storage.count)
  }

  @inlinable mutating func add(_ nameStart: Int, _ nameEnd: Int, _ valueStart: Int, _ valueEnd: Int) {
    let (nameLength, valueLength) = (nameEnd - nameStart, valueEnd - valueStart)
    bytesOfFields += nameLength + valueLength
    positions.append(
      Position(nameStart: nameStart, nameLength: nameLength, valueStart: valueStart, valueLength: valueLength))
  }

  /// Appends the field at `index` of another list, without going through text.
  @inlinable public mutating func append(fieldAt index: Int, of other: HeaderFields) {
    let position = other.positions[index]
    positions.append(position.moved(to: storage.count))
    storage.append(contentsOf: other.storage[position.whole])
    bytesOfFields += Int(position.nameLength) + Int(position.valueLength)
  }

  /// Appends every field of another list.
  @inlinable public mutating func append(contentsOf other: HeaderFields) {
    let offset = storage.count
    storage.append(contentsOf: other.storage)
    positions.reserveCapacity(positions.count + other.positions.count)
    for position in other.positions { positions.append(position.moved(to: Int(position.nameStart) + offset)) }
    bytesOfFields += other.byteCount
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

  /// All fields but those of one name.
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
