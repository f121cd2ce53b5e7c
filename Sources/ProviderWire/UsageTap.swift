// Reads usage and ending of one answer on its way to the client. It delays no byte, except of the one frame that
// `stripInjectedUsage` removes, and keeps at most one frame, or `wholeLimit` bytes of a body (`workLimit` for a batch's
// results).
import AdmissionCore
import Pricing

/// An error that a provider reported inside an answer with a good status.
public struct InStreamError: Sendable, Equatable {
  /// `error.type`, or Google's `status`.
  public var type: String?
  /// `error.code`; numbers as text.
  public var code: String?
  public var message: String?
  public init(type: String? = nil, code: String? = nil, message: String? = nil) {
    self.type = type
    self.code = code
    self.message = message
  }
}

/// One answer's tap. Bytes pass unchanged and at once, except the one frame that `stripInjectedUsage` removes.
public final class UsageTap {
  /// The format of the answer.
  private enum Form { case eventStream, lines, whole, opaque }

  private let form: Form
  /// True for a content coding that we cannot decode, so that only bytes are counted.
  private let isUnreadable: Bool
  private var unreadBytes = 0
  /// The first readable byte that is no blank; 0 before it.
  private var firstByte: UInt8 = 0
  private var isEmpty = true
  private let endpoint: WireEndpoint
  private let strips: Bool
  private let scratch: WireScratch
  private var decoder: ContentDecoder?
  private var scanner = EventStreamScanner()
  private var answer: AnswerReading
  /// The kept bytes of a body that is no stream.
  private var whole: [UInt8] = []
  private var wholeIsCut = false
  /// The number of bytes of a cut body that are not kept.
  private var droppedBytes = 0
  private var sawData = false
  /// True where the last object was complete.
  private var lastWasValid = false
  private var isBroken = false
  /// How many bytes of the incomplete frame have been passed on.
  private var released = 0
  private var lastFrameWasRemoved = false
  /// True up to the end of a frame that was too large to be kept and was given up.
  private var isInsideAbandonedFrame = false
  /// What the answer says about work that outlives its call; nil where it is not watched.
  public private(set) var work: WorkReading?
  /// The lines of a batch's results since `takeLines`; nil where they are not collected.
  private var lines: [LineUsage]?
  /// The current frame, where it is too large to be kept.
  private var skimmed: SkimmedFrame?
  /// Compressed bytes for which no frame or line has been read yet. Reading a frame has a fixed cost, however few
  /// compressed bytes it came in: once the frames exceed what the bytes pay for, the rest of the answer passes unread.
  private var frameCredit = Int.max
  private static let firstCredit = 4096
  private static let bytesPerFrame = 4

  /// The most bytes of a frame that are kept; of a larger one only the beginning and the last `tailLimit` bytes are
  /// kept, for its type and usage.
  public static let frameLimit = 256 << 10
  /// The most bytes of a line that are kept, where each line is an object; a longer line passes unread.
  static let lineLimit = 4 << 20
  /// The most bytes to which a piece of a compressed answer may expand.
  static let pieceLimit = 4 << 20
  /// The most bytes of a body that are kept to be read at its end; of a larger one only the last `tailLimit` bytes are
  /// kept.
  static let wholeLimit = 1 << 20
  /// The same for a body that may contain a whole batch's results.
  static let workLimit = 16 << 20
  static let tailLimit = 64 << 10

  /// The usage that the provider gave, with the last value of each field; nil where it gave none.
  public var usage: Usage? { answer.usage.usage(textBytes: answer.outputBytes) }
  /// The usage to charge for an answer that broke off; nil where the provider gave none. In a stream without its end
  /// mark, text after the last count is added, since a count at the beginning covers only the beginning.
  public var usageOfBrokenAnswer: Usage? {
    guard var usage else { return nil }
    if form == .whole ? lastWasValid : sawTerminalEvent { return usage }
    usage.outputTokens += TokenCount((answer.uncountedBytes + unreadBytes + 3) / 4)
    usage.isEstimated = true
    return usage
  }
  /// The usage to charge for an answer that contains usage; nil where it contains none. A count of zero beside text is
  /// not believed: the text is counted by its bytes, and the input by its estimate. Zeros are true where nothing was
  /// generated, and where the provider charges in another way.
  /// - Parameters:
  ///   - isWhole: false where the answer broke off.
  ///   - estimatedInput: the request's estimate.
  public func charge(isWhole: Bool, estimatedInput: TokenCount) -> Usage? {
    guard var usage = isWhole ? self.usage : usageOfBrokenAnswer else { return nil }
    guard usage.outputTokens == 0 || usage.inputTokens == 0, endpoint.producesOutput, cost != .zero,
      extras.audioMilliseconds == 0, extras.searchUnits == 0
    else { return usage }
    if usage.outputTokens == 0, outputBytes > 0 {
      usage.outputTokens = TokenCount((outputBytes + 3) / 4)
      usage.isEstimated = true
    }
    if usage.inputTokens == 0, usage.outputTokens > 0, endpoint.readsText {
      usage.inputTokens = estimatedInput
      usage.isEstimated = true
    }
    return usage
  }
  /// True where no content of an answer came, or an HTML page in its place.
  public var broughtNothing: Bool {
    guard !isPage else { return true }
    switch form {
    case .whole: return firstByte == 0 && !isBroken
    case .eventStream: return !sawData && inStreamError == nil && !isBroken
    case .lines, .opaque: return isEmpty
    }
  }
  /// True where an HTML page came in place of JSON or events: a proxy on the way answered for the provider.
  public var isPage: Bool {
    guard firstByte == UInt8(ascii: "<") else { return false }
    return form == .whole ? !lastWasValid : form == .eventStream && !sawData
  }
  /// What a price may depend on besides the counts.
  public var extras: UsageExtras { answer.usage.extras }
  /// Bytes of generated text so far. For bodies that are no stream, 0 until the end, and then counted only where usage
  /// is missing. Bytes that cannot be decoded count as they are.
  public var outputBytes: Int { answer.outputBytes + unreadBytes }
  /// The service tier that the provider says it used.
  public var serviceTier: String? { answer.serviceTier }
  /// The provider's own price of the call.
  public var cost: Money? { answer.usage.cost }
  /// True where a count or a price cannot be true; it was cut, and the usage counts as estimated.
  public var usageWasCut: Bool { answer.usage.wasCut }
  /// True once the stream has shown its end: `[DONE]`, `message_stop`, `response.completed`, a finish reason.
  public var sawTerminalEvent: Bool { answer.sawTerminalEvent }
  /// True once the stream's last event has come: `[DONE]`, `message_stop`, `response.completed`. A client may take the
  /// answer for complete then, even if the framing has not ended.
  public var sawEndMark: Bool { answer.sawEndMark }
  public var inStreamError: InStreamError? { answer.inStreamError }
  /// The model that answered.
  public var model: String? { answer.model }
  /// Output tokens so far: the larger of the provider's count and generated bytes / 4.
  public var estimatedOutput: TokenCount { max(usage?.outputTokens ?? 0, TokenCount((outputBytes + 3) / 4)) }
  /// After the end of the body: true where it certainly broke off, because such a stream marks its end and this one did
  /// not.
  public var isCutShort: Bool {
    guard form == .eventStream, !isBroken, sawData, !sawTerminalEvent, inStreamError == nil else { return false }
    switch endpoint {
    case .chatCompletions, .completions, .responses, .messages: return true
    default: return false
    }
  }

  /// Returns the lines of a batch's results that were read since the last time.
  public func takeLines() -> [LineUsage] {
    guard let taken = lines, !taken.isEmpty else { return [] }
    lines = []
    return taken
  }

  /// - Parameters:
  ///   - watchesWork: true reads what the answer says about work that outlives its call.
  ///   - collectsLines: true where the body is a batch's results, whatever its type.
  ///   - isStreaming: true where the client asked for a stream; a known `contentType` decides first.
  ///   - stripInjectedUsage: true where the broker asked for a usage frame that the client did not ask for. It has no
  ///     effect on compressed answers.
  ///   - scratch: the loop's memory for reading JSON.
  public init(
    endpoint: WireEndpoint, isStreaming: Bool, contentType: String?, contentEncoding: String?, stripInjectedUsage: Bool,
    watchesWork: Bool = false, collectsLines: Bool = false, scratch: WireScratch = WireScratch()
  ) {
    let coding = ContentCoding(contentEncoding)
    let form = collectsLines ? .lines : Self.form(contentType, isStreaming: isStreaming)
    if watchesWork { work = WorkReading() }
    if collectsLines { lines = [] }
    isUnreadable = coding == .unsupported && form != .opaque
    self.endpoint = endpoint
    self.scratch = scratch
    self.form = coding == .unsupported ? .opaque : form
    decoder = ContentDecoder(coding)
    if decoder != nil { frameCredit = Self.firstCredit }
    strips = stripInjectedUsage && form == .eventStream && coding == .identity
    answer = AnswerReading(endpoint: endpoint, countsText: form == .eventStream || form == .lines)
  }

  private static func form(_ contentType: String?, isStreaming: Bool) -> Form {
    guard let contentType, !contentType.isEmpty else { return isStreaming ? .eventStream : .whole }
    // The usual spellings first, since comparing is cheaper than folding case.
    if contentType == "application/json" { return .whole }
    if contentType == "text/event-stream" || contentType == "text/event-stream; charset=utf-8" { return .eventStream }
    let type = contentType.lowercased()
    if type.hasPrefix("text/event-stream") { return .eventStream }
    if type.hasPrefix("application/json") { return .whole }
    if type.contains("ndjson") || type.contains("jsonl") || type.contains("json-seq") { return .lines }
    return type.contains("json") ? .whole : .opaque
  }

  /// Takes the next bytes of the body and passes on what the client gets.
  public func feed(_ bytes: ArraySlice<UInt8>, passing output: (ArraySlice<UInt8>) -> Void) {
    guard !bytes.isEmpty else { return }
    isEmpty = false
    if strips { return feedStripping(bytes, output) }
    output(bytes)
    guard form != .opaque, !isBroken else {
      if isUnreadable || isBroken { unreadBytes += bytes.count }
      return
    }
    guard let decoder else { return listen(bytes) }
    frameCredit += bytes.count
    var decoded: [UInt8] = []
    if decoder.decode(bytes, onto: &decoded, limit: Self.pieceLimit) != .ok { isBroken = true }
    listen(decoded[...])
  }

  /// The body has ended or broken off: passes on what was held back, and reads the rest.
  public func finish(passing output: (ArraySlice<UInt8>) -> Void) {
    switch form {
    case .eventStream:
      if skimmed != nil {
        let before = answer
        // As with other last frames, an incomplete object does not count.
        if !readSkimmed() { answer = before }
      }
      let held = scanner.pending.dropFirst(released)
      guard let frame = scanner.lastFrame() else { break }
      if frame.hasData { readLast(frame.data, isError: frame.isError) }
      if strips, !held.isEmpty, !(released == 0 && frame.hasData && isInjectedUsage) { output(held) }
    case .lines:
      if !whole.isEmpty { readLast(whole[...]) }
    case .whole: readWhole()
    case .opaque: break
    }
    whole = []
  }

  private func noteFirst(_ bytes: ArraySlice<UInt8>) {
    if let first = bytes.first(where: { $0 > 0x20 }) { firstByte = first }
  }

  private func listen(_ bytes: ArraySlice<UInt8>) {
    if firstByte == 0 { noteFirst(bytes) }
    switch form {
    case .eventStream:
      var bytes = bytes
      if skimmed != nil {
        guard let end = skimmed?.take(bytes) else { return }
        readSkimmed()
        bytes = bytes[end...]
        if bytes.isEmpty { return }
      }
      scanner.take(bytes)
      while let frame = scanner.nextFrame() {
        frameCredit -= Self.bytesPerFrame
        guard frameCredit >= 0 else { return giveUp() }
        if frame.hasData { read(frame.data, isError: frame.isError) }
      }
      scanner.park()
      if scanner.pendingCount > Self.frameLimit { skim() }
    case .lines: listenToLines(bytes)
    case .whole: keep(bytes)
    case .opaque: break
    }
  }

  /// Lets the rest pass unread; it counts by its bytes.
  private func giveUp() {
    isBroken = true
    scanner.abandon()
    whole = []
  }

  // MARK: Frames that are too large, and memory that is short

  /// Bytes of memory for incomplete frames and bodies, and for decoding.
  public var keptBytes: Int {
    scanner.keptBytes + whole.count + (skimmed?.keptBytes ?? 0) + (decoder?.keptBytes ?? 0)
  }
  /// The most bytes that are kept even while memory is short.
  public static let leastKept = 2 * tailLimit

  /// Called while memory is short: keeps only the end of incomplete content, which contains the usage.
  public func shrink() {
    switch form {
    case .eventStream where !strips && scanner.pendingCount > Self.leastKept: skim()
    case .whole where whole.count > Self.leastKept: cut()
    case .lines where whole.count > Self.leastKept: whole = []
    default: break
    }
  }

  /// True once an error has come inside the stream, and where the incomplete frame may be one.
  public var mayBeInError: Bool { answer.inStreamError != nil || unfinishedMayBeError }
  /// The same for the incomplete frame alone.
  public var unfinishedMayBeError: Bool {
    guard scanner.pendingCount > 0 else { return false }
    return ByteSearch.first(Self.errorWord, in: scanner.pending, from: scanner.frameStart) != nil || saysMessage
  }
  /// True where the frame has a message: a flat error may name its kind after it.
  private var saysMessage: Bool {
    guard let found = ByteSearch.first(Self.messageWord, in: scanner.pending, from: scanner.frameStart) else {
      return false
    }
    return scanner.pending[(found + Self.messageWord.count)...].first { $0 > 0x20 } != UInt8(ascii: "{")
  }
  /// How many bytes of the incomplete frame have been passed on.
  public var unfinishedBytes: Int { strips ? released : scanner.pendingCount }
  /// True where the event stream that was passed on ends between two frames, as far as that is certain.
  /// - Parameter withheld: how many bytes of the incomplete frame were passed on by the tap, but not to the client.
  public func isBetweenFrames(withholding withheld: Int) -> Bool {
    form == .eventStream && !isBroken && skimmed == nil && !isInsideAbandonedFrame && !scanner.endsWithReturn
      && unfinishedBytes == withheld
  }
  /// True once a frame had an `id:` line.
  public var sawEventID: Bool { scanner.sawID }
  private static let errorWord = Array("error".utf8)
  private static let messageWord = Array("\"message\":".utf8)

  private func skim() {
    let pending = scanner.pending
    if let open = ByteSearch.first(UInt8(ascii: "{"), in: pending.prefix(1 << 10), from: pending.startIndex) {
      readFront(pending[open...], isWholeBody: false)
    }
    skimmed = SkimmedFrame(scanner.pending)
    scanner.abandon()
  }

  /// Returns false where the usage at the frame's end is incomplete.
  @discardableResult private func readSkimmed() -> Bool {
    guard let frame = skimmed else { return true }
    skimmed = nil
    sawData = true
    if let type = frame.typeObject { scratch.walk(type[...]) { _ = answer.read(&$0) } }
    whole = frame.tail
    defer { whole = [] }
    return readTail()
  }

  /// Reads one frame's data.
  /// - Parameter isError: true where the frame's event is `error`.
  private func read(_ data: ArraySlice<UInt8>, isError: Bool = false) {
    if data.count == 6, data.elementsEqual("[DONE]".utf8) {
      answer.sawDone()
      lastWasValid = true
      return
    }
    sawData = true
    if lines != nil {
      guard let line = scratch.walk(data, { LineUsage(&$0) }) else { return }
      lines?.append(line)
      return
    }
    if var work {
      scratch.walk(data) { work.read(&$0) }
      self.work = work
    }
    lastWasValid = scratch.walk(data) { answer.read(&$0) }
    if isError || answer.lastHadMessage { readFlatError(data, isNamed: isError) }
  }

  /// Reads errors without an `error` member: `{"object":"error","message":...}`, and the data of `event: error`.
  private func readFlatError(_ data: ArraySlice<UInt8>, isNamed: Bool) {
    guard answer.inStreamError == nil else { return }
    let reading = ErrorReading(Array(data))
    guard isNamed || reading.isError else { return }
    // For plain text the beginning suffices.
    let text = lastWasValid ? nil : String(decoding: data.prefix(512), as: UTF8.self)
    answer.note(
      InStreamError(type: reading.type ?? reading.status, code: reading.code, message: reading.message ?? text))
    if isNamed { lastWasValid = true }
  }

  /// Reads the end of a broken-off stream. An incomplete object does not count, since its last number may be cut.
  private func readLast(_ data: ArraySlice<UInt8>, isError: Bool = false) {
    let before = answer
    read(data, isError: isError)
    if !lastWasValid, lines == nil { answer = before }
  }

  /// True where the last frame is the one that only we asked for: it has usage and no choice.
  private var isInjectedUsage: Bool { lastWasValid && answer.lastHadUsage && answer.lastChoices == 0 }

  private func feedStripping(_ piece: ArraySlice<UInt8>, _ output: (ArraySlice<UInt8>) -> Void) {
    if firstByte == 0 { noteFirst(piece) }
    scanner.take(piece)
    let bytes = scanner.bytes
    // Frames are passed on in one run, up to the first that is removed.
    var passFrom = scanner.frameStart + released
    if scanner.strayLineFeed, !lastFrameWasRemoved { passFrom -= 1 }
    while let frame = scanner.nextFrame() {
      isInsideAbandonedFrame = false
      if frame.hasData { read(frame.data, isError: frame.isError) }
      lastFrameWasRemoved = frame.hasData && released == 0 && isInjectedUsage
      released = 0
      guard lastFrameWasRemoved else { continue }
      if frame.range.lowerBound > passFrom { output(bytes[passFrom..<frame.range.lowerBound]) }
      passFrom = frame.range.upperBound
    }
    var passTo = scanner.frameStart
    let isKept = scanner.pendingCount <= Self.frameLimit
    if released > 0 || !isKept || !mayBeInjectedUsage(scanner.pending) { passTo = bytes.endIndex }
    if passTo > passFrom { output(bytes[passFrom..<passTo]) }
    released = passTo - scanner.frameStart
    scanner.park()
    if !isKept {
      sawData = true
      scanner.abandon()
      isInsideAbandonedFrame = true
      released = 0
    }
  }

  /// False where the incomplete frame cannot be the one to remove: then its bytes need not wait.
  private func mayBeInjectedUsage(_ frame: ArraySlice<UInt8>) -> Bool {
    if frame.count >= 5, !answer.isUntouched, !frame.starts(with: "data:".utf8) { return false }
    return ByteSearch.first(Self.openChoice, in: frame, from: frame.startIndex) == nil
  }

  private static let openChoice = Array("\"choices\":[{".utf8)

  // MARK: Bodies that are no event stream

  /// Reads Ollama's native streams and batch results: one JSON object per line.
  private func listenToLines(_ bytes: ArraySlice<UInt8>) {
    var from = bytes.startIndex
    while let end = ByteSearch.first(0x0A, in: bytes, from: from) {
      frameCredit -= Self.bytesPerFrame
      guard frameCredit >= 0 else { return giveUp() }
      if whole.isEmpty {
        if end > from { read(bytes[from..<end]) }
      } else {
        whole.append(contentsOf: bytes[from..<end])
        let line = whole
        whole = []
        read(line[...])
      }
      from = end + 1
    }
    whole.append(contentsOf: bytes[from...])
    if whole.count > Self.lineLimit { whole = [] }
  }

  private func keep(_ bytes: ArraySlice<UInt8>) {
    whole.append(contentsOf: bytes)
    let limit = work == nil ? Self.wholeLimit : Self.workLimit
    if whole.count > (wholeIsCut ? 2 * Self.tailLimit : limit) { cut() }
  }

  /// Cuts a body that is too large: keeps its end, and what was read from its beginning.
  private func cut() {
    if !wholeIsCut { readFront(whole[...], isWholeBody: true) }
    wholeIsCut = true
    droppedBytes += max(0, whole.count - Self.tailLimit)
    whole = Array(whole.suffix(Self.tailLimit))
  }

  private func readFront(_ start: ArraySlice<UInt8>, isWholeBody: Bool) {
    let front = Self.closed(Array(start.prefix(Self.tailLimit)))
    scratch.walk(front[...]) { answer.readFront(&$0, isWholeBody: isWholeBody) }
  }

  /// True where the usage does not tell the output.
  private var lacksOutput: Bool { (usage?.outputTokens ?? 0) == 0 && endpoint.producesOutput }

  private func readWhole() {
    guard !wholeIsCut else {
      readTail()
      // Bytes that were not read count like bytes that cannot be decoded.
      if lacksOutput, endpoint.readsText, endpoint != .other, inStreamError == nil {
        unreadBytes += droppedBytes + whole.count
      }
      return
    }
    guard !whole.isEmpty else { return }
    readLast(whole[...])
    guard lacksOutput else { return }
    var counting = AnswerReading(endpoint: endpoint == .responses ? .other : endpoint, countsText: true)
    scratch.walk(lastWasValid ? whole[...] : Self.closed(whole)[...]) { _ = counting.read(&$0) }
    answer.takeText(of: counting)
  }

  /// A broken-off body in readable form: without a cut character or escape at its end, and with the missing quote of a
  /// string.
  private static func closed(_ body: [UInt8]) -> [UInt8] {
    let (slash, quote) = (UInt8(ascii: "\\"), UInt8(ascii: "\""))
    var text = body
    while let last = text.last, last & 0xC0 == 0x80 { text.removeLast() }
    if let last = text.last, last >= 0xC0 { text.removeLast() }
    var isOpen = false
    var escape: Int?
    var at = 0
    while at < text.count {
      if isOpen, text[at] == slash {
        escape = at
        at += 1
      } else if text[at] == quote {
        isOpen.toggle()
      }
      at += 1
    }
    guard isOpen else { return text }
    if let escape {
      let isLong = escape + 1 < text.count && text[escape + 1] == UInt8(ascii: "u")
      if text.count < escape + (isLong ? 6 : 2) { text.removeSubrange(escape...) }
      // The first half of a surrogate pair is no character.
      let rest = text.suffix(6)
      if rest.starts(with: [slash, UInt8(ascii: "u")]), "89abAB".utf8.contains(rest[rest.startIndex + 3]),
        rest.count == 6, rest[rest.startIndex + 2] | 0x20 == UInt8(ascii: "d")
      {
        text.removeLast(6)
      }
    }
    text.append(quote)
    return text
  }

  /// Finds the usage object by its name near the end of a body that is too large to keep. Returns false where the
  /// object is incomplete.
  @discardableResult private func readTail() -> Bool {
    var isWhole = true
    for name in ["\"usage\"", "\"usageMetadata\"", "\"meta\""] {
      guard let found = ByteSearch.last(Array(name.utf8), in: whole[...]) else { continue }
      var object = Array("{".utf8)
      object.append(contentsOf: whole[found...])
      isWhole = scratch.walk(object[...]) { answer.read(&$0) }
      if usage != nil { break }
    }
    return isWhole
  }
}
