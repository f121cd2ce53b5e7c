// Fields in the form that nghttp2 takes: lower-case names, and pointers that are valid for one call.
import CNghttp2
import HTTP1Codec
import HTTPMessage

struct FieldBlock {
  private var text: [UInt8] = []
  private var lengths: [(name: Int, value: Int)] = []

  mutating func removeAll() {
    text.removeAll(keepingCapacity: text.capacity <= 4096)
    lengths.removeAll(keepingCapacity: lengths.capacity <= 64)
  }

  mutating func append(_ name: StaticString, _ value: some Collection<UInt8>) {
    text.append(name)
    text.append(contentsOf: value)
    lengths.append((name.utf8CodeUnitCount, value.count))
  }

  /// Appends a handler's fields, without broken ones and those that HTTP/2 forbids (RFC 9113 section 8.2.2). Returns
  /// whether `date` is among them.
  mutating func append(_ fields: HeaderFields, status: Int) -> Bool {
    var hasDate = false
    for index in 0..<fields.count {
      let name = fields.nameBytes(at: index)
      switch name.count {
      case 4 where FieldSyntax.equal(name, "date"): hasDate = true
      case 7 where FieldSyntax.equal(name, "upgrade"): continue
      case 10 where FieldSyntax.equal(name, "connection") || FieldSyntax.equal(name, "keep-alive"): continue
      case 14 where status == 204 && FieldSyntax.equal(name, "content-length"): continue
      case 16 where FieldSyntax.equal(name, "proxy-connection"): continue
      case 17 where FieldSyntax.equal(name, "transfer-encoding"): continue
      default: break
      }
      let value = FieldSyntax.trimmed(fields.valueBytes(at: index))
      guard !name.isEmpty, ByteSyntax.isFieldValue(value) else { continue }
      if ByteSyntax.isLowercaseToken(name) {
        text.append(contentsOf: name)
      } else {
        guard ByteSyntax.isToken(name) else { continue }
        for byte in name { text.append(asciiLowercased(byte)) }
      }
      text.append(contentsOf: value)
      lengths.append((name.count, value.count))
    }
    return hasDate
  }

  /// Calls `body` with the fields; nghttp2 copies them.
  mutating func withFields(_ body: (UnsafeMutablePointer<nghttp2_nv>?, Int) -> Int32) -> Int32 {
    let lengths = lengths
    return text.withUnsafeMutableBufferPointer { text in
      withUnsafeTemporaryAllocation(of: nghttp2_nv.self, capacity: lengths.count) { fields in
        var at = 0
        for (index, length) in lengths.enumerated() {
          let name = text.baseAddress.map { $0 + at }
          let value = text.baseAddress.map { $0 + at + length.name }
          fields[index] = nghttp2_nv(
            name: name, value: value, namelen: length.name, valuelen: length.value,
            flags: UInt8(NGHTTP2_NV_FLAG_NONE.rawValue))
          at += length.name + length.value
        }
        return body(fields.baseAddress, lengths.count)
      }
    }
  }
}
