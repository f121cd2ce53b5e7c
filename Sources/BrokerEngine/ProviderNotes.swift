// What the engine remembers of providers beside the core: how they refused a key, that they refused to be asked for usage, and which
// work they do for whom. It also makes the free calls by which the broker finds out whether a key is good.
//
// Promises: at most one free call for a key is under way; what it is answered is told to the core, and nobody waits for it.
import AdmissionCore
import HTTPMessage
import ProviderWire

final class ProviderNotes {
  private let rules: RulesInForce
  private let upstream: any Upstream
  private let time: Timekeeper
  /// What providers said of keys that they refused.
  var keyRefusals = KeyRefusals()
  var usageRefusals = UsageRefusals()
  /// Work that is charged when its end is read.
  var works = DeferredWork()
  /// Our own calls that are finding out.
  private var keyChecks: [RefusedKey: KeyCheck] = [:]

  init(rules: RulesInForce, upstream: any Upstream, time: Timekeeper, books: Books) {
    self.rules = rules
    self.upstream = upstream
    self.time = time
    works.keep = { [books] in books.remembered($0) }
  }

  /// Makes a free call with a key; what comes of it is told to the core.
  func checkKey(_ key: RefusedKey, for dispatcher: Dispatcher) {
    let name = key.provider.name
    let rules = rules.now
    guard keyChecks[key] == nil, let provider = rules.provider(name), !provider.policy.passThrough,
      let secret = rules.secrets.secret(provider: name, key: key.key.name)
    else { return }
    let generation = rules.secrets.generation(provider: name, key: key.key.name)
    // It goes when its call ends, by its timeouts at the latest.
    let check = KeyCheck { head, body in
      self.keyChecks[key] = nil
      guard let isRefused = self.isRefused(key, generation: generation, head, body) else { return }
      dispatcher.tell(.keyChecked(key.provider, key.key, generation: generation, isRefused: isRefused))
    }
    keyChecks[key] = check
    check.call = upstream.begin(
      provider.listRequest(HeaderFields([provider.credential(secret.revealed)])), events: check)
  }

  /// nil where the provider has no such list, or no time: then it has said nothing.
  private func isRefused(_ key: RefusedKey, generation: Int, _ head: ResponseHead?, _ body: [UInt8]) -> Bool? {
    guard let head else { return nil }
    let rules = rules.now
    let verdict = VerdictReader.verdict(
      status: head.status, fields: head.fields,
      body: ErrorBody.decoded(body, contentEncoding: head.fields.first("content-encoding")),
      epochSeconds: time.epochSeconds(at: time.now))
    let isRefused = verdict == .keyRefused
    if isRefused, generation == rules.secrets.generation(provider: key.provider.name, key: key.key.name) {
      keyRefusals.keep(
        head, body, of: key, besides: rules.provider(key.provider.name)?.policy.headers ?? [], sentWith: rules.secrets,
        now: rules.secrets)
    }
    return isRefused || (200..<300).contains(head.status) ? isRefused : nil
  }
}
