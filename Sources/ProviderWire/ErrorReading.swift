// Reads an error body of any vendor: OpenAI's object, Anthropic's, Google's (also in an array), Mistral's and Cohere's
// flat ones, Ollama's and Voyage's sentence, or plain text.
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
  /// True where Google names a daily quota.
  var isDailyQuota = false
  /// True where that quota is counted per model.
  var isQuotaOfModel = false
  /// True where the body contains an error with content.
  var isError = false
  /// True where the body cannot be read to its end, so that it may say more than was read.
  var isBroken = false

  init() {}

  /// Reads a body. From a body that is not JSON nothing is read.
  ///
  /// Only the places count where vendors put their own words: the outer object, its `error` (or `detail`), and the
  /// `details` there. Some vendors echo the request at other places, and a client can write anything into it.
  /// - Parameter body: nil where there is a body that cannot be decoded.
  init(_ body: [UInt8]?) {
    guard let body else {
      isBroken = true
      return
    }
    guard let first = body.first(where: { $0 > 0x20 }), first == UInt8(ascii: "{") || first == UInt8(ascii: "[") else {
      return
    }
    WireScratch().walk(body[...]) { walk in
      var places = Places()
      while true {
        switch walk.next() {
        case .end: return
        case .error:
          isBroken = true
          return
        case .string: string(walk, places)
        case .number:
          guard walk.key == TG_KEY_code, places.isOuter(walk) else { continue }
          code = String(walk.numberText)
          if walk.parent == TG_KEY_error, code != "0" { isError = true }
        case .objectBegin, .arrayBegin:
          places.enter(walk)
        case .objectEnd, .arrayEnd: places.leave(walk)
        default: continue
        }
      }
    }
  }

  /// Where in the body the walk is.
  private struct Places {
    /// The depth of the outer object, which Google and others put into an array.
    private var base = 0
    /// True inside a member that may hold the error one level down.
    private var isWrapped = false
    /// The depth of the `details` that the walk is in; nil outside of them.
    private var details: Int?

    mutating func enter(_ walk: JSONWalk) {
      if walk.depth == 0, walk.kind == .arrayBegin { base = 1 }
      if walk.depth == base + 1 {
        isWrapped = walk.key == TG_KEY_error || walk.key == TG_KEY_detail || walk.key == TG_KEY_response
      }
      if details == nil, walk.key == TG_KEY_details, isOuter(walk) { details = walk.depth }
    }

    mutating func leave(_ walk: JSONWalk) {
      if walk.depth == details { details = nil }
      if walk.depth == base + 1 { isWrapped = false }
    }

    /// True for a member of the outer object, or of its error.
    func isOuter(_ walk: JSONWalk) -> Bool {
      switch walk.depth - base {
      case ...1: true
      case 2: walk.parent == TG_KEY_error || walk.parent == TG_KEY_detail
      case 3: walk.parent == TG_KEY_error && isWrapped
      default: false
      }
    }

    /// True anywhere below the error's `details`.
    var isInDetails: Bool { details != nil }

    /// True for a member of `details`, or of one of its elements.
    func isDetail(_ walk: JSONWalk) -> Bool { details.map { walk.depth <= $0 + 2 } ?? false }
  }

  private mutating func string(_ walk: JSONWalk, _ places: Places) {
    let isOuter = places.isOuter(walk)
    if isOuter, walk.parent == TG_KEY_error, walk.decodedLength > 0 { isError = true }
    switch walk.key {
    case TG_KEY_error where isOuter:
      isError = isError || walk.decodedLength > 0
      message = walk.string(limit: 512)
    // Voyage's and Jina's sentence.
    case TG_KEY_detail where walk.depth == 1 && message == nil: message = walk.string(limit: 512)
    case TG_KEY_type where isOuter && walk.parent == TG_KEY_error: type = walk.string(limit: 128)
    case TG_KEY_type where isOuter && type == nil:
      type = walk.string(limit: 128)
      isError = isError || type == "error"
    case TG_KEY_object where walk.depth == 1: isError = isError || walk.isString("error")
    case TG_KEY_code where isOuter: code = walk.string(limit: 128)
    case TG_KEY_status where isOuter: status = walk.string(limit: 64)
    case TG_KEY_message where isOuter: message = walk.string(limit: 512)
    case TG_KEY_error_code, TG_KEY_reason:
      if isOuter || places.isDetail(walk) { detailCodes.append(walk.string(limit: 128)) }
    case TG_KEY_retryDelay:
      if isOuter || places.isDetail(walk) { retryDelay = WireTimes.duration(walk.string(limit: 32).utf8) }
    default:
      // `quotaId`, `quotaMetric`: the name contains what the quota counts by.
      if places.isInDetails, !isDailyQuota, walk.decodedLength < 256 {
        let name = walk.string(limit: 256)
        isDailyQuota = name.contains("PerDay")
        isQuotaOfModel = isDailyQuota && name.contains("PerModel")
      }
    }
  }

  /// All codes by which vendors name an error.
  var words: [String] { [type, code, status].compactMap { $0 } + detailCodes }
}
