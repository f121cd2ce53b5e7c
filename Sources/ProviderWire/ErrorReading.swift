// What an error body says, whichever vendor wrote it: OpenAI's object, Anthropic's, Google's (also in an array),
// Mistral's flat one, a bare text.
import AdmissionCore
import CSimdjson

struct ErrorReading: Equatable {
  var type: String?
  var code: String?
  /// Google's canonical status.
  var status: String?
  var message: String?
  /// Anthropic's `details.error_code`, Google's `details[].reason`.
  var detailCodes: [String] = []
  /// Google's `RetryInfo.retryDelay`.
  var retryDelay: Span?
  /// True where Google names a quota of a day.
  var isDailyQuota = false
  /// True where that quota is counted for each model by itself.
  var isQuotaOfModel = false
  /// True where the body holds an error at all.
  var isError = false

  init() {}

  /// Reads a body; of one that is not JSON nothing is known.
  init(_ body: [UInt8]) {
    guard let first = body.first(where: { $0 > 0x20 }), first == UInt8(ascii: "{") || first == UInt8(ascii: "[") else {
      return
    }
    WireScratch().walk(body[...]) { walk in
      while true {
        switch walk.next() {
        case .end, .error: return
        case .string: string(walk)
        case .number:
          if walk.key == TG_KEY_code, walk.parent == TG_KEY_error || walk.depth <= 2 { code = String(walk.numberText) }
        case .objectBegin: if walk.key == TG_KEY_error { isError = true }
        default: continue
        }
      }
    }
  }

  private mutating func string(_ walk: JSONWalk) {
    let isOuter = walk.depth <= 2 || walk.parent == TG_KEY_error
    switch walk.key {
    case TG_KEY_error where isOuter:
      isError = true
      message = walk.string(limit: 512)
    case TG_KEY_type where walk.parent == TG_KEY_error: type = walk.string(limit: 128)
    case TG_KEY_type where isOuter && type == nil:
      type = walk.string(limit: 128)
      isError = isError || type == "error"
    case TG_KEY_object where walk.depth == 1: isError = isError || walk.isString("error")
    case TG_KEY_code where isOuter: code = walk.string(limit: 128)
    case TG_KEY_status where isOuter: status = walk.string(limit: 64)
    case TG_KEY_message where isOuter: message = walk.string(limit: 512)
    case TG_KEY_error_code, TG_KEY_reason: detailCodes.append(walk.string(limit: 128))
    case TG_KEY_retryDelay: retryDelay = WireTimes.duration(walk.string(limit: 32).utf8)
    default:
      // `quotaId`, `quotaMetric`: the axis is in the name.
      if !isDailyQuota, walk.depth >= 4, walk.decodedLength < 256 {
        let name = walk.string(limit: 256)
        isDailyQuota = name.contains("PerDay")
        isQuotaOfModel = isDailyQuota && name.contains("PerModel")
      }
    }
  }

  /// All words by which vendors name an error.
  var words: [String] { [type, code, status].compactMap { $0 } + detailCodes }
}
