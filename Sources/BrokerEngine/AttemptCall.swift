// The call that an attempt makes: the client's request in the form that its provider takes.
import AdmissionCore
import HTTPMessage
import PolicyFile
import ProviderWire

extension Attempt {
  struct MadeCall {
    var request: UpstreamRequest
    var sent: SentSecrets
    /// True where we ask the provider for usage that the client did not ask for.
    var injectsUsage: Bool
  }

  /// The call for the grant, under the rules in force when it was granted; nil where these have no such provider, or no
  /// secret for it.
  /// - Parameter mayAskForUsage: false where the provider has just refused to be asked for usage.
  func callForProvider(mayAskForUsage: Bool) -> MadeCall? {
    guard let provider = rules.provider(grant.provider.name) else { return nil }
    var body = exchange.downstream.body
    var injectsUsage = false
    if mayAskForUsage, provider.policy.injectUsage, provider.policy.dialect == .openai, exchange.call.facts.isStreaming,
      !exchange.call.facts.asksForUsage, let splice = exchange.call.facts.usageSplice,
      services.providers.usageRefusals.mayAsk(grant.provider.name, at: services.time.now)
    {
      body = splice.applied(to: body)
      injectsUsage = true
    }
    var credential: (name: String, value: String)?
    var sent = SentSecrets(added: provider.policy.headers)
    if let key = grant.key {
      guard let secret = rules.secret(of: provider, key: key.name) else { return nil }
      credential = provider.credential(secret.revealed)
      sent.key = secret
    }
    var request = UpstreamRequest(
      provider: grant.provider.name, method: exchange.call.head.method,
      url: provider.url(for: exchange.call.target.rest, written: exchange.call.target.written),
      fields: ForwardedFields.forProvider(
        exchange.call.head.fields, credential: credential, passThrough: provider.policy.passThrough,
        identityOnly: injectsUsage || (rules.policy.keepalive != nil && exchange.call.facts.isStreaming),
        wholeOnly: exchange.call.charge.readsWork, added: provider.policy.headers),
      body: body, timeouts: provider.timeouts)
    if let trace = exchange.record.trace {
      request.fields = ForwardedFields.continuing(
        trace, attempt: grant.attempt, request.fields, added: provider.policy.headers)
    }
    return MadeCall(request: request, sent: sent, injectsUsage: injectsUsage)
  }
}
