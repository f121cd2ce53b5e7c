// Bodies of requests, and JSON alone. However the text is split into windows, the same is read.
import AdmissionCore

@testable import ProviderWire

enum JSONReading {
  private static let paths = [
    "/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/messages", "/v1beta/models/m:streamGenerateContent",
    "/v2/chat", "/v1/rerank", "/v1/audio/transcriptions", "/anything", "/api/chat", "/api/generate",
  ]
  private static let types = [
    nil, "application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b", "audio/wav",
  ]
  private static let codings = [nil, nil, nil, "gzip", "deflate", "zstd"]

  /// The first three bytes choose path, type and coding.
  static func flaw(in bytes: [UInt8]) -> String? {
    guard bytes.count >= 3 else { return nil }
    let body = Array(bytes.dropFirst(3))
    let path = paths[Int(bytes[0]) % paths.count]
    guard let facts = PathFacts.read(path: path[...], anyPath: true) else { return "\(path) is no path" }
    let read = { (scratch: WireScratch) in
      var reader = RequestReader(scratch: scratch)
      return reader.read(
        body, path: facts, contentType: types[Int(bytes[1]) % types.count],
        contentEncoding: codings[Int(bytes[2]) % codings.count], decodedLimit: 1 << 16, everyModel: bytes[2] >= 128)
    }
    let whole = read(WireScratch())
    for window in [1, 7, 64] {
      let found = read(WireScratch(window: window))
      if isMalformed(found), isMalformed(whole) { continue }
      if found != whole { return "window \(window): \(found), in one: \(whole)" }
    }
    return tokensFlaw(body)
  }

  /// A mistake is one in every window, though what lies before it may be seen first.
  private static func isMalformed(_ reading: RequestReading) -> Bool {
    if case .malformed = reading { true } else { false }
  }

  private static func tokensFlaw(_ text: [UInt8]) -> String? {
    let whole = tokens(text, WireScratch())
    for window in [1, 7, 64] {
      let found = tokens(text, WireScratch(window: window))
      let isSame = whole.last == "end" ? found == whole : found.last != "end"
      if !isSame { return "window \(window): \(found), in one: \(whole)" }
    }
    return nil
  }

  /// Every token with all that can be asked of it, and the end or the fault.
  private static func tokens(_ text: [UInt8], _ scratch: WireScratch) -> [String] {
    scratch.walk(text[...]) { walk in
      var all: [String] = []
      while true {
        let kind = walk.next()
        switch kind {
        case .end: return all + ["end"]
        case .error: return all + ["error"]
        case .string: all.append("\(walk.keyName): \(walk.string()) \(walk.isKey(ignoringCase: "model"))")
        case .number:
          all.append(
            "\(walk.keyName): \(walk.numberText) \(walk.wholeNumber) \(walk.dollars) \(walk.isImpossibleCount)")
        default: all.append("\(walk.keyName): \(kind) \(walk.depth) \(walk.count) \(walk.numbers)")
        }
      }
    }
  }
}
