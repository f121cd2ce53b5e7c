// The fields of one request as the linked list of text lines that libcurl reads, in one block of memory that is reused
// for each call.
import CCurl
import HTTP1Codec
import HTTPMessage

/// Owns the block: ``head`` is valid until the next ``fill(_:)``.
final class RequestFieldList {
  private var block: UnsafeMutableRawPointer
  private var capacity = 2048
  private(set) var head: UnsafeMutablePointer<curl_slist>?

  private var text: UnsafeMutablePointer<UInt8>
  private var at = 0
  private var nodes: UnsafeMutablePointer<curl_slist>
  private var nodeCount = 0

  init() {
    block = .allocate(byteCount: capacity, alignment: MemoryLayout<curl_slist>.alignment)
    nodes = block.assumingMemoryBound(to: curl_slist.self)
    text = block.assumingMemoryBound(to: UInt8.self)
  }

  deinit { block.deallocate() }

  /// Takes a request's fields; false where one cannot be sent, since a line break or a NUL in it would smuggle in
  /// another field.
  ///
  /// Fields that frame the message or belong to one hop are left out, since libcurl makes them itself. Libcurl's own
  /// additions (`Accept`, `Expect`, and `Content-Type` for a body) are switched off, so that only the caller's fields
  /// are sent.
  func fill(_ fields: HeaderFields) -> Bool {
    let count = fields.count
    reserve(fields: count + 3, textBytes: fields.byteCount + 3 * count + 32)
    var hasAccept = false
    var hasContentType = false
    for index in 0..<count {
      if RequestHeadWriter.isMadeHere(fields, index) { continue }
      if fields.nameIs("accept", at: index) { hasAccept = true }
      if fields.nameIs("content-type", at: index) { hasContentType = true }
      let name = fields.nameBytes(at: index)
      let value = fields.valueBytes(at: index)
      guard RequestHeadWriter.isSendable(name: name, value: value) else { return false }
      let start = at
      write(name)
      if value.isEmpty {
        // This is libcurl's form of a field without a value.
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
    switchOff("Expect:")
    if !hasAccept { switchOff("Accept:") }
    if !hasContentType { switchOff("Content-Type:") }
    head = nodes
    return true
  }

  private func reserve(fields: Int, textBytes: Int) {
    let nodeBytes = fields * MemoryLayout<curl_slist>.stride
    let wanted = nodeBytes + textBytes
    // A request with giant fields must not leave a block of that size in every handle.
    if wanted > capacity || capacity > 16 << 10 {
      block.deallocate()
      capacity = max(2048, wanted)
      block = .allocate(byteCount: capacity, alignment: MemoryLayout<curl_slist>.alignment)
    }
    nodes = block.bindMemory(to: curl_slist.self, capacity: fields)
    text = (block + nodeBytes).bindMemory(to: UInt8.self, capacity: textBytes)
    at = 0
    nodeCount = 0
    head = nil
  }

  private func write(_ slice: ArraySlice<UInt8>) {
    slice.withUnsafeBufferPointer { bytes in
      if let base = bytes.baseAddress { (text + at).update(from: base, count: bytes.count) }
      at += bytes.count
    }
  }

  private func finishLine(startingAt start: Int) {
    text[at] = 0
    at += 1
    let line = UnsafeMutableRawPointer(text + start).assumingMemoryBound(to: CChar.self)
    (nodes + nodeCount).initialize(to: curl_slist(data: line, next: nil))
    if nodeCount > 0 { nodes[nodeCount - 1].next = nodes + nodeCount }
    nodeCount += 1
  }

  /// A line that ends in its colon makes libcurl leave out its own field of that name.
  private func switchOff(_ name: StaticString) {
    let start = at
    (text + at).update(from: name.utf8Start, count: name.utf8CodeUnitCount)
    at += name.utf8CodeUnitCount
    finishLine(startingAt: start)
  }
}
