// Decodes content codings into a copy, piece by piece and within a bound, with zlib and libzstd. The copy is only for
// reading; what is forwarded stays as it came. The unsafe pointers stay in this file.
import CZlib
import CZstd

/// Content codings by their names in HTTP.
enum ContentCoding: Sendable, Equatable {
  case identity, gzip, deflate, zstd
  /// A coding that we do not decode (`br`), an unknown one, or several at once.
  case unsupported

  /// Reads a `Content-Encoding` value; nil and empty are `identity`.
  init(_ field: String?) {
    switch field?.lowercased().filter({ $0 != " " && $0 != "\t" }) {
    case nil, "", "identity": self = .identity
    case "gzip", "x-gzip": self = .gzip
    case "deflate": self = .deflate
    case "zstd": self = .zstd
    default: self = .unsupported
    }
  }
}

/// One body's decoder.
final class ContentDecoder {
  enum Progress: Equatable {
    /// All input has been taken.
    case ok
    /// The output has reached its limit; the decoder cannot be used any more.
    case tooLarge
    /// The input is not of this coding.
    case corrupt
  }

  private let coding: ContentCoding
  /// zlib keeps the address of this record, so it must not move.
  private let zlib: UnsafeMutablePointer<z_stream>
  private var zstd: OpaquePointer?
  private var isOpen = false
  private var sawInput = false
  /// True once the end of the coded stream was reached.
  private(set) var isComplete = false
  private var chunk: [UInt8] = []

  /// Bytes of memory that the decoder takes, its window included.
  var keptBytes: Int {
    guard isOpen else { return chunk.count }
    // zlib's tables and its usual window of 32 KiB.
    return chunk.count + (zstd.map { ZSTD_sizeof_DStream($0) } ?? 44 << 10)
  }

  /// nil for codings that are not decoded.
  init?(_ coding: ContentCoding) {
    guard coding != .identity, coding != .unsupported else { return nil }
    self.coding = coding
    chunk = [UInt8](repeating: 0, count: 16 << 10)
    zlib = .allocate(capacity: 1)
    zlib.initialize(to: z_stream())
    switch coding {
    case .gzip: guard open(windowBits: 15 + 32) else { return nil }
    case .deflate: guard open(windowBits: 15 + 32) else { return nil }
    case .zstd:
      guard let made = ZSTD_createDStream() else { return nil }
      // HTTP allows windows of up to 8 MiB (RFC 9659); larger ones are refused.
      ZSTD_DCtx_setParameter(made, ZSTD_d_windowLogMax, 23)
      zstd = made
      isOpen = true
    case .identity, .unsupported: return nil
    }
  }

  private func open(windowBits: Int32) -> Bool {
    isOpen =
      inflateInit2_(zlib, windowBits, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK
    return isOpen
  }

  deinit {
    close()
    zlib.deallocate()
  }

  private func close() {
    guard isOpen else { return }
    isOpen = false
    if let zstd { ZSTD_freeDStream(zstd) } else { inflateEnd(zlib) }
  }

  /// Decodes the next piece and appends it to `output`, which never grows beyond `limit` bytes.
  func decode(_ input: ArraySlice<UInt8>, onto output: inout [UInt8], limit: Int) -> Progress {
    guard isOpen else { return .corrupt }
    guard !input.isEmpty else { return .ok }
    let result = coding == .zstd ? unzstd(input, &output, limit) : inflate(input, &output, limit)
    if result != .ok { close() }
    return result
  }

  private func inflate(_ input: ArraySlice<UInt8>, _ output: inout [UInt8], _ limit: Int) -> Progress {
    var input = input
    if coding == .deflate, !sawInput, let first = input.first, first & 0x0F != 8 || first >> 4 > 7 {
      // Some senders use `deflate` for the raw format without zlib's header.
      inflateEnd(zlib)
      guard open(windowBits: -15) else { return .corrupt }
    }
    sawInput = true
    while true {
      let (status, taken, made) = input.withUnsafeBufferPointer { source in
        chunk.withUnsafeMutableBufferPointer { target in
          zlib.pointee.next_in = UnsafeMutablePointer(mutating: source.baseAddress)
          zlib.pointee.avail_in = UInt32(clamping: source.count)
          zlib.pointee.next_out = target.baseAddress
          zlib.pointee.avail_out = UInt32(target.count)
          let before = zlib.pointee.avail_in
          let status = CZlib.inflate(zlib, Z_NO_FLUSH)
          return (status, Int(before - zlib.pointee.avail_in), target.count - Int(zlib.pointee.avail_out))
        }
      }
      input = input.dropFirst(taken)
      if output.count + made > limit { return .tooLarge }
      add(made, to: &output, limit)
      switch status {
      case Z_STREAM_END:
        isComplete = true
        // gzip allows several members in sequence.
        guard !input.isEmpty, coding == .gzip, inflateReset(zlib) == Z_OK else { return .ok }
        isComplete = false
      case Z_OK, Z_BUF_ERROR:
        if input.isEmpty && made < chunk.count { return .ok }
        if taken == 0 && made == 0 { return .corrupt }
      default:
        return .corrupt
      }
    }
  }

  private func unzstd(_ input: ArraySlice<UInt8>, _ output: inout [UInt8], _ limit: Int) -> Progress {
    var input = input
    while true {
      let (left, taken, made) = input.withUnsafeBufferPointer { source in
        chunk.withUnsafeMutableBufferPointer { target in
          var from = ZSTD_inBuffer(src: source.baseAddress, size: source.count, pos: 0)
          var to = ZSTD_outBuffer(dst: target.baseAddress, size: target.count, pos: 0)
          let left = ZSTD_decompressStream(zstd, &to, &from)
          return (left, from.pos, to.pos)
        }
      }
      if ZSTD_isError(left) != 0 { return .corrupt }
      input = input.dropFirst(taken)
      if output.count + made > limit { return .tooLarge }
      add(made, to: &output, limit)
      isComplete = left == 0
      if input.isEmpty && made < chunk.count { return .ok }
      if taken == 0 && made == 0 { return .corrupt }
    }
  }

  /// A large output gets all the room that it may need at once: untouched pages take no memory, while growing by
  /// doubling would need it twice during the copy.
  private func add(_ made: Int, to output: inout [UInt8], _ limit: Int) {
    if output.count + made > output.capacity, output.count >= 4 << 20 { output.reserveCapacity(limit) }
    output.append(contentsOf: chunk[..<made])
  }

  /// Decodes a whole body at once; nil, with the reason, where that fails.
  static func decoded(_ body: [UInt8], _ coding: ContentCoding, limit: Int) -> (bytes: [UInt8]?, progress: Progress) {
    guard let decoder = ContentDecoder(coding) else { return (nil, .corrupt) }
    var output: [UInt8] = []
    output.reserveCapacity(min(limit, body.count &* 4))
    let progress = decoder.decode(body[...], onto: &output, limit: limit)
    if progress == .ok, !decoder.isComplete { return (nil, .corrupt) }
    return (progress == .ok ? output : nil, progress)
  }
}
