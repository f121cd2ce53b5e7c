// Header fields as they came over the wire: names keep their case, values keep their bytes.
//
// One allocation holds the text of all fields and one their positions, so that a message of thirty
// fields costs two allocations and can be forwarded without being copied field by field.

/// An ordered list of header fields; names may repeat. Lookup ignores ASCII case (RFC 9110 section 5.1).
public struct HeaderFields: Sendable {
  /// Where one field lies in ``storage``.
  @usableFromInline struct Position: Sendable {
    @usableFromInline var nameStart: UInt32
    @usableFromInline var nameLength: UInt32
    @usableFromInline var valueLength: UInt32
    @inlinable var valueStart: UInt32 { nameStart + nameLength }

    @inlinable init(nameStart: UInt32, nameLength: UInt32, valueLength: UInt32) {
      self.nameStart = nameStart
      self.nameLength = nameLength
      self.valueLength = valueLength
    }
  }

  /// Names and values, back to back: name, value, name, value.
  @usableFromInline var storage: [UInt8] = []
  @usableFromInline var positions: [Position] = []

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
    positions.reserveCapacity(lengths.count)
    var start: UInt32 = 0
    for length in lengths {
      positions.append(Position(nameStart: start, nameLength: length.name, valueLength: length.value))
      start += length.name + length.value
    }
  }

  @inlinable public var count: Int { positions.count }
  @inlinable public var isEmpty: Bool { positions.isEmpty }

  /// Bytes of all names and values together.
  @inlinable public var byteCount: Int { storage.count }

  @inlinable public mutating func append(name: String, value: String) {
    append(name: name.utf8, value: value.utf8)
  }

  @inlinable public mutating func append(name: some Collection<UInt8>, value: some Collection<UInt8>) {
    let start = storage.count
    storage.append(contentsOf: name)
    let middle = storage.count
    storage.append(contentsOf: value)
    positions.append(
      Position(
        nameStart: UInt32(truncatingIfNeeded: start), nameLength: UInt32(truncatingIfNeeded: middle - start),
        valueLength: UInt32(truncatingIfNeeded: storage.count - middle)))
  }

  /// The same for bytes that lie in arrays: the way of the parsers, without the cost of a generic call.
  @inlinable public mutating func append(nameBytes name: ArraySlice<UInt8>, valueBytes value: ArraySlice<UInt8>) {
    let start = storage.count
    storage.append(contentsOf: name)
    storage.append(contentsOf: value)
    positions.append(
      Position(
        nameStart: UInt32(truncatingIfNeeded: start), nameLength: UInt32(truncatingIfNeeded: name.count),
        valueLength: UInt32(truncatingIfNeeded: value.count)))
  }

  /// Appends the field at `index` of another list, without going through text.
  @inlinable public mutating func append(fieldAt index: Int, of other: HeaderFields) {
    let position = other.positions[index]
    let start = Int(position.nameStart)
    let length = Int(position.nameLength) + Int(position.valueLength)
    let newStart = UInt32(truncatingIfNeeded: storage.count)
    storage.append(contentsOf: other.storage[start..<start + length])
    positions.append(
      Position(nameStart: newStart, nameLength: position.nameLength, valueLength: position.valueLength))
  }

  /// Appends every field of another list.
  @inlinable public mutating func append(contentsOf other: HeaderFields) {
    let offset = UInt32(truncatingIfNeeded: storage.count)
    storage.append(contentsOf: other.storage)
    positions.reserveCapacity(positions.count + other.positions.count)
    for position in other.positions {
      positions.append(
        Position(
          nameStart: position.nameStart + offset, nameLength: position.nameLength, valueLength: position.valueLength))
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
