// The fields of one request in HTTP/2's form: pseudo fields first, names in lower case, without fields that frame a
// message or belong to one hop.
import CNghttp2
import HTTP1Codec
import HTTPMessage

struct HTTP2RequestFields {
  private var text: [UInt8] = []
  private var lengths: [(name: Int, value: Int)] = []

  /// nil where a field cannot be sent: an invalid name, or a value that would end its line in HTTP/1.1.
  init?(_ request: UpstreamRequest, _ destination: Destination) {
    text.reserveCapacity(request.fields.byteCount + destination.target.utf8.count + 128)
    lengths.reserveCapacity(request.fields.count + 5)
    guard request.method.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else { return nil }
    append(":method", request.method.utf8)
    append(":scheme", "https".utf8)
    append(":authority", destination.host.utf8)
    append(":path", destination.target.utf8)
    let fields = request.fields
    for index in 0..<fields.count where !RequestHeadWriter.isMadeHere(fields, index) {
      let name = fields.nameBytes(at: index)
      let value = FieldSyntax.trimmed(fields.valueBytes(at: index))
      guard RequestHeadWriter.isSendable(name: name, value: value) else { return nil }
      for byte in name { text.append(asciiLowercased(byte)) }
      text.append(contentsOf: value)
      lengths.append((name.count, value.count))
    }
    if request.statesLength { append("content-length", String(request.body.count).utf8) }
  }

  private mutating func append(_ name: StaticString, _ value: some Collection<UInt8>) {
    name.withUTF8Buffer { text.append(contentsOf: $0) }
    text.append(contentsOf: value)
    lengths.append((name.utf8CodeUnitCount, value.count))
  }

  /// Calls `body` with the fields; nghttp2 copies them.
  func withFields(_ body: (UnsafePointer<nghttp2_nv>?, Int) -> Int32) -> Int32 {
    text.withUnsafeBufferPointer { text in
      withUnsafeTemporaryAllocation(of: nghttp2_nv.self, capacity: lengths.count) { fields in
        var at = 0
        for (index, length) in lengths.enumerated() {
          // nghttp2 only reads them.
          let name = UnsafeMutablePointer(mutating: text.baseAddress.map { $0 + at })
          let value = UnsafeMutablePointer(mutating: text.baseAddress.map { $0 + at + length.name })
          fields[index] = nghttp2_nv(
            name: name, value: value, namelen: length.name, valuelen: length.value,
            flags: UInt8(NGHTTP2_NV_FLAG_NONE.rawValue))
          at += length.name + length.value
        }
        return body(UnsafePointer(fields.baseAddress), lengths.count)
      }
    }
  }
}
