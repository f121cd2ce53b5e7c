// What the engine, apart from the core, remembers of providers: how they refused a key, that they refuse to be asked
// for usage, and deferred work. It also makes the free calls by which the broker checks keys.
//
// Promises: at most one free call per key is under way; its result is told to the core, and no request waits for it.
import AdmissionCore
import HTTPMessage
import ProviderWire

final class ProviderNotes {
  private let rules: RulesInForce
  private let upstream: any Upstream
  private let time: Timekeeper
  /// What providers answered when they refused a key.
  var keyRefusals = KeyRefusals()
  var usageRefusals = UsageRefusals()
  /// Deferred work, which is charged when its end is read.
  var works = DeferredWork()
  /// Knows which providers have no key left.
  let watch: KeyWatch
  /// Our own free calls that are under way.
  private var keyChecks: [RefusedKey: KeyCheck] = [:]

  init(rules: RulesInForce, upstream: any Upstream, time: Timekeeper, clerk: LedgerClerk, watch: KeyWatch) {
    self.rules = rules
    self.watch = watch
    self.upstream = upstream
    self.time = time
    works.keep = { [clerk] in clerk.remembered($0) }
  }

  /// Makes a free call with a key, and tells the core the result.
  func checkKey(_ key: RefusedKey, for dispatcher: Dispatcher) {
    let name = key.provider.name
    let rules = rules.now
    guard keyChecks[key] == nil else { return }
    guard let provider = rules.provider(name), !provider.policy.passThrough,
      let secret = rules.secrets.secret(provider: name, key: key.key.name)
    else { return watch.checkEnded(key) }
    let generation = rules.secrets.generation(provider: name, key: key.key.name)
    // The check is removed when its call ends, by its timeouts at the latest.
    let check = KeyCheck { head, body in
      self.keyChecks[key] = nil
      if let isRefused = self.isRefused(key, generation: generation, head, body) {
        dispatcher.tell(.keyChecked(key.provider, key.key, generation: generation, isRefused: isRefused))
      }
      self.watch.checkEnded(key)
    }
    keyChecks[key] = check
    watch.checkBegan(key)
    var request = provider.listRequest(HeaderFields([provider.credential(secret.revealed)]))
    request.timeouts = Self.checkTimeouts
    check.call = upstream.begin(request, events: check)
  }

  /// A key that is not refused by then counts as usable.
  private static let checkTimeouts = UpstreamTimeouts(
    connect: .seconds(5), firstByte: .seconds(5), idle: .seconds(5), total: .seconds(5))

  /// nil where the provider has no such list, or did not answer in time: then nothing is known.
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
