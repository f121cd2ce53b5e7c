// Decides which header fields are forwarded to the provider, and back to the client. Forwarded fields keep their order,
// case and bytes.
//
// Hop-by-hop fields (RFC 9110 section 7.6.1), and those that `Connection` names, are dropped in both directions.
// Towards the provider we also drop our own `x-tollgate-*`, and the client's credential unless the policy lets it pass
// through.
import HTTPMessage
import PolicyFile
import ProviderWire
import Telemetry

enum ForwardedFields {
  /// The client's fields for a provider.
  /// - Parameters:
  ///   - credential: replaces the client's own; nil sends none, except with `passThrough`.
  ///   - identityOnly: true drops `accept-encoding`, because the answer will be edited.
  ///   - wholeOnly: true drops `range` and `if-range`, since the usage could not be read from a part of an answer.
  ///   - added: fields that the policy adds for the provider; they replace the client's fields of the same names.
  static func forProvider(
    _ fields: HeaderFields, credential: (name: String, value: String)?, passThrough: Bool, identityOnly: Bool,
    wholeOnly: Bool = false, added: [AddedField] = []
  ) -> HeaderFields {
    var result = HeaderFields(reservingBytes: fields.byteCount + 128, fields: fields.count + 2 + added.count)
    let named = connectionNames(fields)
    /// True where the field is forwarded, as it is or with another value.
    func goesOn(_ index: Int) -> Bool {
      if Credentials.isStripped(fields, at: index, passThrough: passThrough) { return false }
      if identityOnly, fields.nameIs("accept-encoding", at: index) { return false }
      if wholeOnly, fields.nameIs("range", at: index) || fields.nameIs("if-range", at: index) { return false }
      return named.isEmpty || !names(named, contain: fields.nameBytes(at: index))
    }
    // Unchanged fields are copied in runs.
    var first = 0
    for index in 0..<fields.count {
      let goesOn = goesOn(index)
      let readable =
        goesOn && fields.nameIs("accept-encoding", at: index) ? readableCodings(fields.valueBytes(at: index)) : nil
      if goesOn, readable == nil, added.isEmpty || !isAdded(fields.nameBytes(at: index), added) { continue }
      result.append(fields: first..<index, of: fields)
      first = index + 1
      if let readable { result.append(name: fields.nameBytes(at: index), value: readable) }
    }
    result.append(fields: first..<fields.count, of: fields)
    if let credential { result.append(name: credential.name, value: credential.value) }
    for field in added { result.append(name: field.name, value: field.value.revealed) }
    return result
  }

  /// The fields for a provider with the attempt's own `traceparent` in place of the client's. The client's `tracestate`
  /// goes on where its trace does. A `traceparent` that the policy adds for the provider stays.
  static func continuing(
    _ trace: CallTrace, attempt: Int, _ fields: HeaderFields, added: [AddedField]
  ) -> HeaderFields {
    guard !added.contains(where: { $0.name == "traceparent" }) else { return fields }
    var result = HeaderFields(reservingBytes: fields.byteCount + 80, fields: fields.count + 1)
    var first = 0
    for index in 0..<fields.count
    where fields.nameIs("traceparent", at: index) || (!trace.isContinued && fields.nameIs("tracestate", at: index)) {
      result.append(fields: first..<index, of: fields)
      first = index + 1
    }
    result.append(fields: first..<fields.count, of: fields)
    result.append("traceparent", trace.traceparent(ofAttempt: attempt))
    return result
  }

  /// For a call of our own: our fields with the policy's added ones, which replace ours of the same names.
  static func with(_ added: [AddedField], inPlaceOf own: HeaderFields) -> HeaderFields {
    var result = HeaderFields()
    for index in 0..<own.count where !isAdded(own.nameBytes(at: index), added) {
      result.append(fieldAt: index, of: own)
    }
    for field in added { result.append(name: field.name, value: field.value.revealed) }
    return result
  }

  /// The accepted codings without those in which we cannot read the usage; nil where all of them may stay.
  private static func readableCodings(_ value: ArraySlice<UInt8>) -> [UInt8]? {
    for (common, result) in common where value.elementsEqual(common) { return result }
    var kept: [ArraySlice<UInt8>] = []
    var dropped = false
    for element in value.split(separator: UInt8(ascii: ",")) {
      let name = element.prefix { $0 != UInt8(ascii: ";") }.filter { $0 != 0x20 && $0 != 0x09 }.map(asciiLowercased)
      if readable.contains(name) { kept.append(element) } else { dropped = true }
    }
    guard dropped else { return nil }
    if kept.isEmpty { return Array("identity".utf8) }
    return Array(kept.joined(separator: [UInt8(ascii: ",")]).drop { $0 == 0x20 })
  }
  /// What most clients send, so that it need not be parsed.
  private static let common: [(value: [UInt8], readable: [UInt8]?)] = [
    ("gzip, deflate", nil), ("gzip, deflate, br", "gzip, deflate"), ("gzip, deflate, zstd", nil),
    ("gzip, deflate, br, zstd", "gzip, deflate, zstd"), ("br, gzip, deflate", "gzip, deflate"), ("identity", nil),
    ("gzip", nil),
  ].map { (Array($0.0.utf8), $0.1.map { Array($0.utf8) }) }
  private static let readable: Set<[UInt8]> = Set(
    ["gzip", "x-gzip", "deflate", "zstd", "identity"].map { Array($0.utf8) })

  /// The provider's fields for the client, with room for ours.
  /// - Parameters:
  ///   - bodyMayShrink: true drops `content-length`, because a frame may be removed.
  ///   - isForPage: true drops the provider's own CORS fields, since the policy says which pages may read.
  static func forClient(_ fields: HeaderFields, bodyMayShrink: Bool, isForPage: Bool = false) -> HeaderFields {
    var result = HeaderFields(reservingBytes: fields.byteCount + 256, fields: fields.count + 8)
    let named = connectionNames(fields)
    var first = 0
    for index in 0..<fields.count {
      let staysHere =
        isHopByHop(fields, index) || fields.nameStarts(with: "x-tollgate-", at: index)
        || (bodyMayShrink && fields.nameIs("content-length", at: index))
        || (isForPage && fields.nameStarts(with: "access-control-", at: index))
        || (!named.isEmpty && names(named, contain: fields.nameBytes(at: index)))
      guard staysHere else { continue }
      result.append(fields: first..<index, of: fields)
      first = index + 1
    }
    result.append(fields: first..<fields.count, of: fields)
    return result
  }

  /// Compares the first letter first: for most fields that is enough.
  private static func isHopByHop(_ fields: HeaderFields, _ index: Int) -> Bool {
    switch firstLetter(fields, index) {
    case UInt8(ascii: "c"): fields.nameIs("connection", at: index)
    case UInt8(ascii: "k"): fields.nameIs("keep-alive", at: index)
    case UInt8(ascii: "p"):
      fields.nameIs("proxy-connection", at: index) || fields.nameIs("proxy-authenticate", at: index)
        || fields.nameIs("proxy-authorization", at: index)
    case UInt8(ascii: "t"):
      fields.nameIs("te", at: index) || fields.nameIs("trailer", at: index)
        || fields.nameIs("transfer-encoding", at: index)
    case UInt8(ascii: "u"): fields.nameIs("upgrade", at: index)
    default: false
    }
  }

  private static func firstLetter(_ fields: HeaderFields, _ index: Int) -> UInt8 {
    fields.nameBytes(at: index).first.map(asciiLowercased) ?? 0
  }

  /// The names in `Connection`, in lower case. Mostly there are none beside `close` and `keep-alive`.
  private static func connectionNames(_ fields: HeaderFields) -> [[UInt8]] {
    var result: [[UInt8]] = []
    for index in 0..<fields.count where fields.nameIs("connection", at: index) {
      let value = fields.valueBytes(at: index)
      if FieldSyntax.equal(value, "keep-alive") || FieldSyntax.equal(value, "close") { continue }
      for name in value.split(separator: UInt8(ascii: ",")) {
        let trimmed = name.drop { $0 == 0x20 || $0 == 0x09 }.map(asciiLowercased)
        let end = trimmed.lastIndex { $0 != 0x20 && $0 != 0x09 }.map { $0 + 1 } ?? 0
        let word = Array(trimmed[..<end])
        if word.isEmpty || word.elementsEqual("close".utf8) || word.elementsEqual("keep-alive".utf8) { continue }
        result.append(word)
      }
    }
    return result
  }

  private static func isAdded(_ name: ArraySlice<UInt8>, _ added: [AddedField]) -> Bool {
    added.contains { field in
      field.name.utf8.count == name.count && zip(field.name.utf8, name).allSatisfy { $0 == asciiLowercased($1) }
    }
  }

  private static func names(_ names: [[UInt8]], contain name: ArraySlice<UInt8>) -> Bool {
    names.contains { $0.count == name.count && zip($0, name).allSatisfy { $0 == asciiLowercased($1) } }
  }
}
