// The fields of one request as the linked list of text lines that libcurl reads, in a single block of memory.
import CCurl
import HTTPMessage

/// Owns the block; must outlive the transfer that uses ``head``.
struct RequestFieldList: ~Copyable {
  private let block: UnsafeMutableRawPointer
  let head: UnsafeMutablePointer<curl_slist>

  /// Fields that frame the message or belong to one hop are left out: libcurl makes these itself. Libcurl's own additions
  /// (`Accept`, `Expect`, and `Content-Type` for a body) are switched off, so that nothing goes out but what the caller gave.
  init(_ fields: HeaderFields) {
    var kept: [Int] = []
    kept.reserveCapacity(fields.count)
    var bytes = 0
    var hasAccept = false
    var hasContentType = false
    for index in 0..<fields.count where !Self.isFraming(fields, index) {
      kept.append(index)
      bytes += fields.nameBytes(at: index).count + fields.valueBytes(at: index).count + 3
      if fields.nameIs("accept", at: index) { hasAccept = true }
      if fields.nameIs("content-type", at: index) { hasContentType = true }
    }
    let count = kept.count + 3
    let nodeBytes = count * MemoryLayout<curl_slist>.stride
    block = .allocate(byteCount: nodeBytes + bytes + 32, alignment: MemoryLayout<curl_slist>.alignment)
    let nodes = block.bindMemory(to: curl_slist.self, capacity: count)
    let text = (block + nodeBytes).bindMemory(to: UInt8.self, capacity: bytes + 32)
    var at = 0
    var node = 0

    func finishLine(startingAt start: Int) {
      text[at] = 0
      at += 1
      let line = UnsafeMutableRawPointer(text + start).assumingMemoryBound(to: CChar.self)
      nodes[node] = curl_slist(data: line, next: nil)
      if node > 0 { nodes[node - 1].next = nodes + node }
      node += 1
    }
    func write(_ slice: ArraySlice<UInt8>) {
      slice.withUnsafeBufferPointer { bytes in
        guard let base = bytes.baseAddress else { return }
        (text + at).update(from: base, count: bytes.count)
        at += bytes.count
      }
    }
    func switchOff(_ name: StaticString) {
      let start = at
      (text + at).update(from: name.utf8Start, count: name.utf8CodeUnitCount)
      at += name.utf8CodeUnitCount
      finishLine(startingAt: start)
    }

    switchOff("Expect:")
    if !hasAccept { switchOff("Accept:") }
    if !hasContentType { switchOff("Content-Type:") }
    for index in kept {
      let start = at
      write(fields.nameBytes(at: index))
      let value = fields.valueBytes(at: index)
      if value.isEmpty {
        // How libcurl is told to send a field without a value.
        text[at] = UInt8(ascii: ";")
        at += 1
      } else {
        text[at] = UInt8(ascii: ":")
        text[at + 1] = UInt8(ascii: " ")
        at += 2
        write(value)
      }
      finishLine(startingAt: start)
    }
    head = nodes
  }

  deinit { block.deallocate() }

  /// A line break or NUL inside a field would end it early and smuggle in another one.
  static func isSendable(_ fields: HeaderFields) -> Bool {
    for index in 0..<fields.count {
      if fields.nameBytes(at: index).isEmpty { return false }
      for byte in fields.nameBytes(at: index) where byte <= 0x20 || byte == UInt8(ascii: ":") || byte == 0x7F {
        return false
      }
      for byte in fields.valueBytes(at: index) where byte == 0 || byte == 0x0A || byte == 0x0D { return false }
    }
    return true
  }

  private static func isFraming(_ fields: HeaderFields, _ index: Int) -> Bool {
    switch fields.nameBytes(at: index).count {
    case 2: fields.nameIs("te", at: index)
    case 4: fields.nameIs("host", at: index)
    case 6: fields.nameIs("expect", at: index)
    case 7: fields.nameIs("upgrade", at: index) || fields.nameIs("trailer", at: index)
    case 10: fields.nameIs("connection", at: index) || fields.nameIs("keep-alive", at: index)
    case 14: fields.nameIs("content-length", at: index)
    case 16: fields.nameIs("proxy-connection", at: index)
    case 17: fields.nameIs("transfer-encoding", at: index)
    default: false
    }
  }
}
