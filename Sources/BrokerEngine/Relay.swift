// The way of one answer from its provider to the client: bytes go on as they come, a copy of their facts goes to the tap.
//
// Promises: the last bytes of an answer, by which its client takes it for finished, are withheld until its attempt ends, and are then
// in what `finish` or `breakOff` gives; of an error that may show a secret nothing goes on before it is looked through; what the tap
// keeps is in the account of memory.
import AdmissionCore
import HTTPMessage
import ProviderWire

/// What the client still has to get when the books have the request's end.
struct Delivery {
  /// nil where it went before.
  var head: ResponseHead?
  var body: [UInt8]
}

final class Relay {
  enum Step {
    case goesOn
    /// A stream said its last word; if its provider does not end it, we do.
    case saidLastWord
    /// It goes on and on behind its last word: that is nothing to wait for.
    case isEndless
    /// Its body is not coded as it says.
    case isUnreadable
  }

  /// The first bytes of an answer that is no stream wait for the rest of their turn, up to this many: mostly they are all.
  private static let coalesced = 16 << 10

  /// As it goes on, but for our own fields.
  let head: ResponseHead
  let tap: UsageTap
  private let downstream: any HTTPExchange
  private let record: RequestRecord
  private let sent: SentSecrets
  private let memory: MemoryAccount
  /// What the tap keeps.
  private var tapShare: MemoryShare
  /// Takes the secrets that were sent out of an error.
  private var mask: AnswerMask?
  /// Of a stream's frame that may be an error and is not whole: what of it waits for the rest.
  private var suspectFrame: [UInt8] = []
  /// Something of the answer's body has come.
  private var bodyBegan = false
  /// The head while it waits for the first of its body.
  private var pendingHead: ResponseHead?
  /// What waits: for the rest of its turn, or for the end to be in the books.
  private var withheld: [UInt8] = []
  /// What is left of the `content-length`; -1 where there is none.
  private var remaining = -1
  private let isEventStream: Bool
  /// Nothing of ours can be written behind what the provider has compressed.
  private let isEncoded: Bool
  /// Whether anything may wait for the end of the loop's turn.
  private let mayWait: Bool

  /// What is read of an answer beside its usage.
  struct Watch {
    var stripsUsage = false
    var work = false
    var lines = false
  }

  /// - Parameters:
  ///   - head: as it came.
  ///   - mask: for an error that goes on as it comes.
  ///   - mayWait: false in tests without a loop: then nothing is put off.
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

  /// Gives the head to the client, unless it waits for the body.
  func begin() { if !waitsForBody { giveOn() } }

  /// True where the head waits for the first bytes of the body, until the end of the turn.
  var waitsForBody: Bool { mayWait && !isEventStream }

  // MARK: Bytes

  /// Takes the next bytes of the body.
  func take(_ piece: ArraySlice<UInt8>) -> Step {
    var bytes = piece
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
    if remaining >= 0 { remaining = max(0, remaining - bytes.count) }
    if remaining == 0 || (pendingHead != nil && withheld.count + bytes.count < Relay.coalesced) {
      tap.feed(bytes) { withheld.append(contentsOf: $0) }
    } else {
      giveOn()
      tap.feed(bytes) { downstream.send($0) }
    }
    return .goesOn
  }

  /// A stream's bytes go on at once, until the frame that says that it is over.
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
      // Providers may show in an error what was sent to them: its frame waits until it is whole.
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

  /// What came of the answer in this turn goes out, but for the very last of it.
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

  /// What the tap keeps is in the account; where that is full, the tap keeps the least that it needs.
  func countTap() {
    let held = tap.heldBytes
    let before = tapShare.bytes
    guard held != before else { return }
    tapShare.resize(to: held)
    // A frame that was too large to keep: many such would leave as much free heap behind as they ever held.
    if before - held >= UsageTap.frameLimit / 2 { memory.onGivenUp?() }
    guard held > UsageTap.leastHeld, memory.isFull else { return }
    tap.shrink()
    tapShare.resize(to: tap.heldBytes)
    memory.onGivenUp?()
  }

  // MARK: The end

  /// The provider's answer is complete: what is left of it for the client.
  func finish() -> Delivery {
    finishTap()
    let last = takeRest()
    return tap.inStreamError == nil ? last : sent.cleaned(last)
  }

  /// The answer ends here without being whole: in a stream by an error frame, else so that the client can see it.
  /// - Returns: what is left for the client; nil where its answer was broken off.
  func breakOff(_ frame: () -> [UInt8]) -> Delivery? {
    finishTap()
    guard isEventStream, !isEncoded else {
      giveOn()
      downstream.abort()
      return nil
    }
    // The client may stand inside a frame: an empty line closes it.
    withheld.append(contentsOf: "\n\n".utf8)
    withheld.append(contentsOf: frame())
    return takeRest()
  }

  /// Nobody will read the rest.
  func drop() {
    tap.finish { _ in }
    _ = takeRest()
  }

  /// Gives back what the tap held.
  func close() { tapShare.resize(to: 0) }

  private func takeRest() -> Delivery {
    let rest = Delivery(head: pendingHead, body: withheld)
    pendingHead = nil
    withheld = []
    return rest
  }

  /// Nothing comes any more: what was held back goes behind what is withheld.
  private func finishTap() {
    if let rest = mask?.rest(), !rest.isEmpty { tap.feed(rest[...]) { withheld.append(contentsOf: $0) } }
    mask = nil
    var last = suspectFrame
    suspectFrame = []
    tap.finish { last.append(contentsOf: $0) }
    withheld.append(contentsOf: isEventStream && !last.isEmpty ? sent.cleaned(last) : last)
  }

  private static func isEventStream(_ head: ResponseHead) -> Bool {
    guard let index = head.fields.firstIndex(of: "content-type") else { return false }
    return FieldSyntax.starts(head.fields.valueBytes(at: index), with: "text/event-stream")
  }
}
