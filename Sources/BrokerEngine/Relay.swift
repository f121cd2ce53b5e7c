// Relays one answer from the provider to the client: bytes are forwarded as they come, and the tap reads usage from
// them.
//
// Promises: the last bytes of an answer, which show the client that it is complete, are withheld until the attempt
// ends, and are then returned by `finish` or `breakOff`; an error that may show a secret is searched before any byte of
// it is forwarded; memory that the tap keeps is in the account of memory; what is inserted into a silent stream stands
// between two frames, and counts nowhere.
import AdmissionCore
import HTTPMessage
import ProviderWire

/// What must be sent to the client when the ledger has the request's end.
struct Delivery {
  /// The head; nil where it was sent before.
  var head: ResponseHead?
  var body: [UInt8]
}

final class Relay {
  enum Step {
    case goesOn
    /// The stream's end mark has come; if the provider does not end the answer, we do.
    case saidLastWord
    /// More and more follows the end mark: we do not wait for the end.
    case isEndless
    /// The body's coding is not what its head says.
    case isUnreadable
  }

  /// The first bytes of an answer that is no stream, up to this many, wait until the end of the turn: mostly they are
  /// the whole answer.
  private static let coalesced = 16 << 10

  /// The head as it is forwarded, without our own fields.
  let head: ResponseHead
  let tap: UsageTap
  private let downstream: any HTTPExchange
  private let record: RequestRecord
  private let sent: SentSecrets
  private let memory: MemoryAccount
  /// Memory that the tap keeps.
  private var tapShare: MemoryShare
  /// Removes the secrets that were sent from an error.
  private var mask: AnswerMask?
  /// The part of a stream's frame that may be an error and is not complete: it waits for the rest of the frame.
  private var suspectFrame: [UInt8] = []
  /// True where a part of the body has come.
  private var bodyBegan = false
  /// The head while it waits for the first bytes of the body.
  private var pendingHead: ResponseHead?
  /// Bytes that wait for the end of the turn, or for the end to be in the ledger.
  private var withheld: [UInt8] = []
  /// Bytes that are still missing to the `content-length`; -1 where there is none.
  private var remaining = -1
  private let isEventStream: Bool
  /// True for Ollama's streams, which have one object per line.
  private let isLineStream: Bool
  /// True while the client has only a part of a line of such a stream.
  private var isInsideLine = false
  /// True where the provider has compressed the body: then we cannot append an error frame.
  private let isEncoded: Bool
  /// True where bytes may wait for the end of the loop's turn.
  private let mayWait: Bool
  private let dialect: Dialect
  /// The beat that this stream is kept alive by; nil where it is not.
  private var keepaliveBeat: Keepalives.Beat?
  private var keepalivePlace = 0
  /// Beats since the provider's last piece.
  private var silentBeats: UInt8 = 0

  /// What is read from an answer beside its usage.
  struct Watch {
    var stripsUsage = false
    var work = false
    var lines = false
  }

  /// - Parameters:
  ///   - head: the provider's, as it came.
  ///   - mask: for an error that is forwarded as it comes.
  ///   - mayWait: false in tests without a loop: then nothing is postponed.
  init(
    _ head: ResponseHead, of exchange: Exchange, sent: SentSecrets, mask: AnswerMask?, watch: Watch, mayWait: Bool
  ) {
    var head = head.status < 300 ? head : sent.cleaned(head)
    let isDecoded = mask?.decodes == true
    if isDecoded { head.fields = head.fields.without("content-encoding") }
    self.head = head
    self.mask = mask
    self.sent = sent
    self.mayWait = mayWait
    downstream = exchange.downstream
    record = exchange.record
    memory = exchange.services.memory
    tapShare = MemoryShare(memory, .decoding)
    tap = UsageTap(
      endpoint: exchange.call.path.endpoint, isStreaming: exchange.call.facts.isStreaming,
      contentType: head.fields.first("content-type"),
      contentEncoding: head.fields.first("content-encoding"), stripInjectedUsage: watch.stripsUsage,
      watchesWork: watch.work, collectsLines: watch.lines, scratch: exchange.services.scratch)
    isEventStream = Relay.isEventStream(head)
    dialect = exchange.call.dialect
    isLineStream = dialect == .ollama && Relay.isLineStream(head)
    isEncoded =
      head.fields.firstIndex(of: "content-encoding").map {
        !FieldSyntax.equal(head.fields.valueBytes(at: $0), "identity")
      } ?? false
    var fields = ForwardedFields.forClient(
      head.fields, bodyMayShrink: watch.stripsUsage || isDecoded, isForPage: exchange.call.isFromPage)
    exchange.appendOwnFields(to: &fields, outcome: nil)
    record.relaying(head.status)
    if waitsForBody { remaining = fields.first("content-length").flatMap { Int($0) } ?? -1 }
    pendingHead = ResponseHead(status: head.status, fields: fields)
  }

  /// Sends the head to the client, unless the head waits for the body.
  func begin() { if !waitsForBody { giveOn() } }

  /// True where the head waits for the first bytes of the body, until the end of the turn.
  var waitsForBody: Bool { mayWait && !isEventStream }

  // MARK: Bytes

  /// Takes the next bytes of the body.
  func take(_ piece: ArraySlice<UInt8>) -> Step {
    var bytes = piece
    silentBeats = 0
    if !bodyBegan {
      bodyBegan = true
      if !isEventStream, !isEncoded, mask == nil, AnswerMask.isNeeded(for: piece) {
        mask = sent.mask(for: head)
        if let head = pendingHead { pendingHead = sent.cleaned(head) }
      }
    }
    if mask != nil {
      guard let clean = mask?.take(piece) else { return .isUnreadable }
      bytes = clean[...]
      if bytes.isEmpty { return .goesOn }
    }
    record.passedOn(bytes.count)
    if isEventStream { return takeStream(bytes) }
    if isLineStream { isInsideLine = bytes.last != UInt8(ascii: "\n") }
    if remaining >= 0 { remaining = max(0, remaining - bytes.count) }
    if remaining == 0 || (pendingHead != nil && withheld.count + bytes.count < Relay.coalesced) {
      tap.feed(bytes) { withheld.append(contentsOf: $0) }
    } else {
      giveOn()
      tap.feed(bytes) { downstream.send($0) }
    }
    return .goesOn
  }

  /// Forwards a stream's bytes at once, up to the frame that ends the stream.
  private func takeStream(_ bytes: ArraySlice<UInt8>) -> Step {
    var first: ArraySlice<UInt8> = []
    var others: [ArraySlice<UInt8>] = []
    tap.feed(bytes) { if first.isEmpty { first = $0 } else { others.append($0) } }
    let isOver = tap.sawEndMark
    let isSuspect = tap.mayBeInError || !suspectFrame.isEmpty
    if isSuspect, !isEncoded, !sent.isEmpty {
      var bytes = suspectFrame + first
      for other in others { bytes.append(contentsOf: other) }
      others = []
      // An error may show what was sent to the provider, so its frame waits until it is complete.
      let unfinished = tap.unfinishedMayBeError ? min(tap.unfinishedBytes, bytes.count) : 0
      let waiting = unfinished <= Attempt.errorLimit ? unfinished : 0
      suspectFrame = Array(bytes.suffix(waiting))
      bytes.removeLast(waiting)
      first = sent.cleaned(bytes)[...]
    }
    guard isOver, mayWait else {
      if !first.isEmpty { downstream.send(first) }
      for bytes in others { downstream.send(bytes) }
      return .goesOn
    }
    withheld.append(contentsOf: first)
    for bytes in others { withheld.append(contentsOf: bytes) }
    return withheld.count > Attempt.errorLimit ? .isEndless : .saidLastWord
  }

  /// Sends what came of the answer in this turn, except its last bytes.
  func turnEnded() {
    if pendingHead != nil, remaining != 0 { giveOn() }
  }

  private func giveOn() {
    if let head = pendingHead {
      pendingHead = nil
      downstream.respond(head)
    }
    if !withheld.isEmpty {
      downstream.send(withheld)
      withheld = []
    }
  }

  /// Updates the account with the tap's memory. Where the account is full, the tap keeps only what it needs.
  func countTap() {
    let kept = tap.keptBytes
    let before = tapShare.bytes
    guard kept != before else { return }
    tapShare.resize(to: kept)
    // The tap gave up a frame that was too large to keep: many of these leave free heap behind, which should be
    // returned.
    if before - kept >= UsageTap.frameLimit / 2 { memory.onGivenUp?() }
    guard kept > UsageTap.leastKept, memory.isFull else { return }
    tap.shrink()
    tapShare.resize(to: tap.keptBytes)
    memory.onGivenUp?()
  }

  // MARK: Silence

  /// Keeps the client's side alive from now on, where something can be inserted into the answer: only into a stream of
  /// events or lines, which is neither encoded nor of a known length. Called before `begin`.
  func keepAlive(_ beat: Keepalives.Beat) {
    guard head.status < 300, isEventStream || isLineStream, !isEncoded, mask == nil,
      pendingHead?.fields.contains("content-length") == false
    else { return }
    keepaliveBeat = beat
    keepalivePlace = beat.join(self)
  }

  func moved(to place: Int) { keepalivePlace = place }

  /// A quarter of the interval has passed.
  func beat() {
    if silentBeats <= Keepalives.beats { silentBeats += 1 }
    guard silentBeats > Keepalives.beats, mayInsert else { return }
    // The next one follows an interval later.
    silentBeats = 1
    downstream.send(keepalive)
  }

  /// True where the client has the head and whole frames, waits for more, and has taken all that it was sent.
  private var mayInsert: Bool {
    guard pendingHead == nil, withheld.isEmpty, downstream.pendingBytes == 0, !downstream.isClosed,
      tap.inStreamError == nil
    else { return false }
    if isLineStream { return !isInsideLine && !tap.sawTerminalEvent }
    // Gemini's streams have no other end mark.
    let isOver = dialect == .gemini ? tap.sawTerminalEvent : tap.sawEndMark
    return !isOver && tap.isBetweenFrames(withholding: suspectFrame.count)
  }

  /// What a client of the dialect passes over.
  private var keepalive: [UInt8] {
    // Readers of lines take an empty one for a broken object, but any blank may stand before an object.
    if isLineStream { return [UInt8(ascii: " ")] }
    // Google's SDK takes a comment for a broken answer, and passes over an empty line.
    if dialect == .gemini { return [UInt8(ascii: "\n")] }
    if dialect == .anthropic { return Array("event: ping\ndata: {\"type\": \"ping\"}\n\n".utf8) }
    // Some SDKs remember an event's id, and take the empty line after a comment for an event with that id.
    return Array((tap.sawEventID ? ": keepalive\n" : ": keepalive\n\n").utf8)
  }

  // MARK: The end

  /// The provider's answer is complete. Returns what is left of it for the client.
  func finish() -> Delivery {
    finishTap()
    let last = takeRest()
    return tap.inStreamError == nil ? last : sent.cleaned(last)
  }

  /// Ends an answer that is not complete: a stream by an error frame, any other answer by breaking it off, so that the
  /// client sees it.
  /// - Returns: what is left for the client; nil where the answer was broken off.
  func breakOff(_ frame: () -> [UInt8]) -> Delivery? {
    let isBetweenFrames = tap.isBetweenFrames(withholding: 0)
    finishTap()
    guard isEventStream || isLineStream, !isEncoded else {
      giveOn()
      downstream.abort()
      return nil
    }
    // The client may be inside a frame: an empty line ends it. Readers of lines take an empty one for a broken object, and
    // some of events, after one with an id, for an event.
    if isEventStream {
      if !isBetweenFrames || !tap.sawEventID { withheld.append(contentsOf: "\n\n".utf8) }
    } else if isInsideLine {
      withheld.append(UInt8(ascii: "\n"))
    }
    withheld.append(contentsOf: frame())
    return takeRest()
  }

  /// Drops the rest, since the client has left.
  func drop() {
    tap.finish { _ in }
    _ = takeRest()
  }

  /// Gives the tap's memory back to the account, and leaves the list of streams that are kept alive.
  func close() {
    tapShare.resize(to: 0)
    keepaliveBeat?.leave(keepalivePlace)
    keepaliveBeat = nil
  }

  private func takeRest() -> Delivery {
    let rest = Delivery(head: pendingHead, body: withheld)
    pendingHead = nil
    withheld = []
    return rest
  }

  /// The input has ended: appends what the tap kept back to the withheld bytes.
  private func finishTap() {
    if let rest = mask?.rest(), !rest.isEmpty { tap.feed(rest[...]) { withheld.append(contentsOf: $0) } }
    mask = nil
    var last = suspectFrame
    suspectFrame = []
    tap.finish { last.append(contentsOf: $0) }
    withheld.append(contentsOf: isEventStream && !last.isEmpty ? sent.cleaned(last) : last)
  }

  private static func isEventStream(_ head: ResponseHead) -> Bool { isType("text/event-stream", head) }
  private static func isLineStream(_ head: ResponseHead) -> Bool { isType("application/x-ndjson", head) }

  private static func isType(_ type: StaticString, _ head: ResponseHead) -> Bool {
    guard let index = head.fields.firstIndex(of: "content-type") else { return false }
    return FieldSyntax.starts(head.fields.valueBytes(at: index), with: type)
  }
}
