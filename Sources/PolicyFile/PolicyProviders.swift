// Reads providers, their keys and limits, and the routes.
import AdmissionCore
import TextForms

extension PolicyBuilder {
  static let providerFields = [
    "dialect", "base_url", "keys", "quota", "limits", "model_limits", "admission_tokens", "learn_limits", "breaker",
    "timeouts", "retry", "inject_usage", "pass_through", "settle_lag", "ramp", "cache_ttl", "ca_file",
    "http_version", "check_keys", "auth", "headers", "native",
  ]
  static let limitFields = [
    "concurrency", "requests_per_minute", "input_tokens_per_minute", "output_tokens_per_minute", "tokens_per_minute",
    "requests_per_second", "requests_per_day", "tokens_per_day",
  ]

  /// Returns the ids of all providers in the file, also of those with mistakes, so that routes can be checked.
  func readProviders(_ top: Fields, _ policy: inout Policy) -> [String] {
    let allowed = "at least one provider, as in providers: {openai: {dialect: openai, base_url: ..., keys: [...]}}"
    guard let node = top.required("providers", allowed: allowed),
      let entries = reader.fields(node, "providers", known: nil, shape: "a mapping of provider ids")
    else { return [] }
    if entries.entries.isEmpty { reader.report(node.position, "providers", "an empty mapping, allowed: \(allowed)") }
    for entry in entries.entries {
      let path = fieldPath("providers", entry.name)
      if !reader.isName(entry.name) {
        reader.report(entry.position, path, "found \(quoted(entry.name)), allowed as an id: \(FieldReader.nameRule)")
      }
      if let provider = provider(entry, path) { policy.providers.append(provider) }
    }
    return entries.entries.map(\.name)
  }

  private func provider(_ entry: Fields.Entry, _ path: String) -> Provider? {
    guard let fields = reader.fields(entry.value, path, known: PolicyBuilder.providerFields) else { return nil }
    let dialects = DialectName.allCases.map { ($0.rawValue, $0) }
    let dialect = fields.choice("dialect", dialects, isRequired: true)
    let allowed = "http:// or https:// with a host, and a path where the vendor's SDK wants one"
    var url: BaseURL?
    if let (text, node) = fields.scalar("base_url", allowed: allowed, isRequired: true) {
      switch BaseURL.parse(text, dialect: dialect) {
      case .success(let parsed): url = parsed
      case .failure(let flaw):
        reader.report(
          node.position, fields.path(of: "base_url"), "\(flaw.problem), allowed: \(flaw.allowed ?? allowed)")
      }
    }
    var provider = Provider(id: entry.name, dialect: dialect ?? .openai, baseURL: url?.text ?? "")
    provider.keys = keys(fields)
    provider.quota = fields.choice("quota", [("shared", .shared), ("per_key", .perKey)]) ?? provider.quota
    provider.limits = limits(fields)
    provider.modelLimits = modelLimits(fields)
    provider.admissionTokens =
      fields.choice("admission_tokens", [("produced", .produced), ("max_tokens", .maxTokens)])
      ?? provider.admissionTokens
    provider.learnLimits = fields.flag("learn_limits") ?? provider.learnLimits
    provider.breaker = breaker(fields) ?? .api
    readTimeouts(fields, &provider)
    provider.retry = retry(fields)
    provider.injectUsage = fields.flag("inject_usage") ?? provider.injectUsage
    provider.passThrough = fields.flag("pass_through") ?? provider.passThrough
    provider.checkKeys = fields.flag("check_keys") ?? provider.checkKeys
    provider.settleLag = fields.duration("settle_lag", .zero ... .seconds(60)) ?? provider.settleLag
    provider.ramp = fields.duration("ramp", .zero ... .seconds(3600)) ?? provider.ramp
    provider.cacheLife = fields.duration("cache_ttl", .zero ... .seconds(86_400)) ?? provider.cacheLife
    provider.caFile = fields.filePath("ca_file")
    provider.auth = fields.choice("auth", AuthField.allCases.map { ($0.rawValue, $0) }) ?? provider.auth
    provider.native = fields.choice("native", NativeAPI.allCases.map { ($0.rawValue, $0) })
    if provider.native == .ollama, let dialect, dialect != .openai {
      fields.report("native", "ollama at a provider of another dialect, allowed: with dialect: openai")
    }
    provider.headers = addedFields(fields, provider)
    if let version = fields.choice("http_version", [("1.1", "1.1"), ("2", "2")]) {
      provider.httpVersion = version
      if version == "2", let url, !url.isSecure {
        let reason = "HTTP/2 without TLS (h2c) loses answers when connections are reused"
        fields.report("http_version", "\(reason), allowed: 2 with an https:// base_url, or 1.1")
      }
    }
    return provider
  }

  private func keys(_ fields: Fields) -> [ProviderKey] {
    var keys: [ProviderKey] = []
    var seen: [String: Int] = [:]
    for item in fields.list("keys", of: "keys, such as {id: main, secret: \"${NAME}\"}") ?? [] {
      guard
        let entry = reader.fields(
          item.node, item.path, known: ["id", "secret", "weight", "limits", "models", "valid_from", "expires"])
      else {
        continue
      }
      let id = name(entry, "id")
      if let id, let line = seen.updateValue(item.node.position.line, forKey: id) {
        entry.report(
          "id", "\(quoted(id)) is the id of another key of this provider, at line \(line), allowed: each id once")
      }
      var key = ProviderKey(id: id ?? "", source: .text(Secret("")))
      if let source = secret(entry) { key.source = source }
      key.variable = entry["secret"].flatMap { variable(in: $0.written) }
      key.weight = entry.integer("weight", 1...1000).map { Int($0) } ?? 1
      key.limits = limits(entry)
      key.models = entry.globs("models") ?? []
      key.validFrom = entry.instant("valid_from")
      key.expires = entry.instant("expires")
      if let from = key.validFrom, let end = key.expires, end.nanoseconds <= from.nanoseconds {
        entry.report("expires", "is not after valid_from, allowed: a later date or time")
      }
      keys.append(key)
    }
    return keys
  }

  /// The variable, where the written text is nothing but `${NAME}`; else nil.
  private func variable(in written: String) -> String? {
    guard written.hasPrefix("${"), written.hasSuffix("}") else { return nil }
    let name = written.dropFirst(2).dropLast()
    return name.contains("}") ? nil : String(name)
  }

  /// A required id.
  func name(_ fields: Fields, _ field: String) -> String? {
    guard let (text, node) = fields.scalar(field, allowed: FieldReader.nameRule, isRequired: true) else { return nil }
    if reader.isName(text) { return text }
    reader.report(node.position, fields.path(of: field), "found \(node.found), allowed: \(FieldReader.nameRule)")
    return nil
  }

  /// Never shows what it found.
  func secret(_ fields: Fields) -> ProviderKey.Source? {
    let allowed = "\"${NAME}\" of the environment, {file: PATH} or {command: [PROGRAM, ARGUMENT...]}"
    guard let node = fields.required("secret", allowed: allowed) else { return nil }
    let path = fields.path(of: "secret")
    switch node.content {
    case .unresolved: return nil
    case .scalar(let text, _):
      if isCredential(text) { return .text(Secret(text)) }
      reader.report(node.position, path, "\(flaw(ofCredential: text)), allowed: \(allowed)")
      return nil
    case .sequence:
      reader.report(node.position, path, "found a list, allowed: \(allowed)")
      return nil
    case .mapping:
      guard let source = reader.fields(node, path, known: ["file", "command"]) else { return nil }
      if (source["file"] == nil) == (source["command"] == nil) {
        // An unknown field has been reported already: report each mistake once.
        if source.entries.contains(where: { !$0.value.isNull }) || entryCount(node) == source.entries.count {
          reader.report(node.position, path, "needs exactly one of file and command, allowed: \(allowed)")
        }
        return nil
      }
      if source["file"] != nil { return source.filePath("file").map { .file(path: $0) } }
      guard let items = source.list("command", of: "texts, the program first") else { return nil }
      let words = items.compactMap { reader.scalar($0.node, $0.path, allowed: "a text") }
      if items.isEmpty || words.first?.isEmpty == true {
        source.report("command", "no program, allowed: a list of texts, the program first")
        return nil
      }
      return words.count == items.count ? .command(words) : nil
    }
  }

  /// How many fields a mapping has, unknown ones included.
  func entryCount(_ node: YAMLNode) -> Int {
    if case .mapping(let entries) = node.content { return entries.count }
    return 0
  }

  func limits(_ fields: Fields, _ name: String = "limits") -> Limits {
    fields[name].map { limits($0, fields.path(of: name)) } ?? Limits()
  }

  private func limits(_ node: YAMLNode, _ path: String) -> Limits {
    reader.fields(node, path, known: PolicyBuilder.limitFields).map { limits(of: $0) } ?? Limits()
  }

  private func limits(of fields: Fields) -> Limits {
    var limits = Limits(concurrency: fields.integer("concurrency", 1...1_000_000).map { Int($0) })
    let requests: ClosedRange<Int64> = 1...1_000_000_000
    let tokens: ClosedRange<Int64> = 1...1_000_000_000_000
    limits.requestsPerMinute = rate(fields, "requests_per_minute", requests, .requestsPerMinute, &limits)
    limits.inputTokensPerMinute = rate(fields, "input_tokens_per_minute", tokens, .inputTokensPerMinute, &limits)
    limits.outputTokensPerMinute = rate(fields, "output_tokens_per_minute", tokens, .outputTokensPerMinute, &limits)
    limits.tokensPerMinute = rate(fields, "tokens_per_minute", tokens, .tokensPerMinute, &limits)
    limits.requestsPerSecond = rate(fields, "requests_per_second", requests, .requestsPerSecond, &limits)
    limits.requestsPerDay = rate(fields, "requests_per_day", requests, .requestsPerDay, &limits)
    limits.tokensPerDay = rate(fields, "tokens_per_day", tokens, .tokensPerDay, &limits)
    return limits
  }

  /// A number, or `{limit: 1000, burst: 10s}`.
  private func rate(
    _ fields: Fields, _ name: String, _ range: ClosedRange<Int64>, _ rate: RateLimit, _ limits: inout Limits
  ) -> Int64? {
    guard let node = fields[name], case .mapping = node.content else { return fields.integer(name, range) }
    guard let entry = reader.fields(node, fields.path(of: name), known: ["limit", "burst"]) else { return nil }
    let period = Duration.nanoseconds(rate.period.nanoseconds)
    if let burst = entry.duration("burst", .milliseconds(1)...period) { limits.bursts[rate] = Span(burst) }
    guard entry["limit"] != nil else {
      entry.report("limit", "is missing, allowed: \(range.lowerBound) to \(range.upperBound)")
      return nil
    }
    return entry.integer("limit", range)
  }

  private func modelLimits(_ fields: Fields) -> [ModelLimits] {
    guard let node = fields["model_limits"],
      let entries = reader.fields(
        node, fields.path(of: "model_limits"), known: nil, shape: "a mapping of model globs to limits")
    else { return [] }
    return entries.entries.map { entry in
      let path = entries.path(of: entry.name)
      let name = YAMLNode(
        content: .scalar(entry.name, isPlain: false), position: entry.position, written: entry.name)
      let models = reader.glob(name, path) ?? "*"
      guard let fields = reader.fields(entry.value, path, known: PolicyBuilder.limitFields + ["breaker"]) else {
        return ModelLimits(models: models, limits: Limits())
      }
      return ModelLimits(models: models, limits: limits(of: fields), breaker: breaker(fields))
    }
  }

  /// nil where the fields name no breaker.
  private func breaker(_ fields: Fields) -> BreakerPolicy? {
    guard let node = fields["breaker"],
      let entry = reader.fields(
        node, fields.path(of: "breaker"),
        known: ["preset", "failures", "window", "recovery", "probes", "when_open"])
    else { return nil }
    let presets: [(String, BreakerPolicy)] = [("api", .api), ("external", .external), ("database", .database)]
    var breaker = entry.choice("preset", presets) ?? .api
    breaker.failures = entry.integer("failures", 1...1000).map { Int($0) } ?? breaker.failures
    breaker.window = entry.duration("window", .milliseconds(1) ... .seconds(86400)).map { Span($0) } ?? breaker.window
    breaker.recovery =
      entry.duration("recovery", .milliseconds(1) ... .seconds(3600)).map { Span($0) } ?? breaker.recovery
    breaker.probes = entry.integer("probes", 1...100).map { Int($0) } ?? breaker.probes
    breaker.whenOpen = entry.choice("when_open", [("wait", .wait), ("reject", .reject)]) ?? breaker.whenOpen
    return breaker
  }

  private func readTimeouts(_ fields: Fields, _ provider: inout Provider) {
    guard let node = fields["timeouts"],
      let entry = reader.fields(node, fields.path(of: "timeouts"), known: ["connect", "first_byte", "idle", "total"])
    else { return }
    let hour = Duration.seconds(3600)
    let day = Duration.seconds(86400)
    provider.connectTimeout = entry.duration("connect", .milliseconds(1)...hour) ?? provider.connectTimeout
    provider.firstByteTimeout = entry.duration("first_byte", .milliseconds(1)...day) ?? provider.firstByteTimeout
    provider.idleTimeout = entry.duration("idle", .milliseconds(1)...day) ?? provider.idleTimeout
    provider.totalTimeout = entry.duration("total", .milliseconds(1)...day) ?? provider.totalTimeout
  }

  private func retry(_ fields: Fields) -> RetryPolicy {
    var retry = RetryPolicy()
    guard let node = fields["retry"],
      let entry = reader.fields(
        node, fields.path(of: "retry"), known: ["attempts", "base", "max", "budget", "after_sent"])
    else { return retry }
    let range = Duration.milliseconds(1)...Duration.seconds(3600)
    retry.attempts = entry.integer("attempts", 1...100).map { Int($0) } ?? retry.attempts
    retry.base = entry.duration("base", range).map { Span($0) } ?? retry.base
    retry.max = entry.duration("max", range).map { Span($0) } ?? retry.max
    retry.budgetPercent = entry.percent("budget", 0...100) ?? retry.budgetPercent
    retry.afterSent = entry.flag("after_sent") ?? retry.afterSent
    if retry.max < retry.base {
      entry.report(entry["max"] != nil ? "max" : "base", "max is shorter than base, allowed: max of base or longer")
    }
    return retry
  }

  func readRoutes(_ top: Fields, _ providers: [String], _ policy: inout Policy) {
    guard let items = top.list("routes", of: "routes, such as {models: [\"*\"], to: [openai]}") else {
      policy.routes = Policy.defaultRoutes(for: policy.providers)
      return
    }
    if items.isEmpty { top.report("routes", "an empty list, allowed: at least one route, or no routes: at all") }
    for item in items {
      guard let entry = reader.fields(item.node, item.path, known: ["models", "to"]) else { continue }
      let models = entry.globs("models", isRequired: true) ?? []
      let what = "provider ids" + (providers.isEmpty ? "" : ": " + providers.joined(separator: ", "))
      var to: [String] = []
      guard entry.required("to", allowed: "a list of \(what)") != nil, let targets = entry.list("to", of: what) else {
        continue
      }
      if targets.isEmpty { entry.report("to", "an empty list, allowed: at least one of the \(what)") }
      for target in targets {
        guard let id = reader.scalar(target.node, target.path, allowed: "one of the \(what)") else { continue }
        if !providers.contains(id) {
          let guess = Spelling.nearest(to: id, among: providers).map { ", did you mean \"\($0)\"?" } ?? ","
          reader.report(
            target.node.position, target.path,
            "no provider is called \(target.node.found)\(guess) allowed: one of the \(what)")
        } else if to.contains(id) {
          reader.report(
            target.node.position, target.path, "\(target.node.found) is in this list already, allowed: each once")
        }
        to.append(id)
      }
      policy.routes.append(Route(models: models, to: to))
    }
  }
}

/// A provider's base URL, checked, in the form to which paths are appended.
struct BaseURL {
  struct Flaw: Error {
    var problem: String
    var allowed: String?
  }

  var text: String
  var isSecure: Bool

  /// Parses a URL as one would give it to the vendor's SDK. An OpenAI URL without a path gets `/v1`, and one of Azure
  /// `/openai/v1`, where Azure has these paths; slashes at the end are removed.
  static func parse(_ text: String, dialect: DialectName?) -> Result<BaseURL, Flaw> {
    func flaw(_ problem: String, allowed: String? = nil) -> Result<BaseURL, Flaw> {
      .failure(Flaw(problem: problem, allowed: allowed))
    }
    guard text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
      return flaw("blanks, control characters or characters beyond ASCII")
    }
    guard text.utf8.count <= 2048 else { return flaw("more than 2048 bytes") }
    let lower = text.lowercased()
    let isSecure = lower.hasPrefix("https://")
    guard isSecure || lower.hasPrefix("http://") else { return flaw("no http:// or https:// at the start") }
    let rest = text.dropFirst(isSecure ? 8 : 7)
    if rest.contains("?") || rest.contains("#") { return flaw("a query or fragment", allowed: "a URL without ? and #") }
    let slash = rest.firstIndex(of: "/") ?? rest.endIndex
    let authority = rest[..<slash]
    var path = rest[slash...]
    if authority.contains("@") {
      return flaw("a user or password before @", allowed: "a URL without them; credentials belong under keys:")
    }
    var host = authority
    if authority.hasPrefix("[") {
      guard let end = authority.firstIndex(of: "]"),
        IPAddress.groups(ofVersion6: String(authority[authority.index(after: authority.startIndex)..<end])) != nil
      else { return flaw("a host in brackets that is no IPv6 address") }
      host = authority[...end]
    } else if let colon = authority.firstIndex(of: ":") {
      host = authority[..<colon]
    }
    let port = authority[host.endIndex...]
    guard !host.isEmpty else { return flaw("no host") }
    guard
      host.hasPrefix("[")
        || host.utf8.allSatisfy({
          ($0 | 0x20 >= 0x61 && $0 | 0x20 <= 0x7A) || ($0 >= 0x30 && $0 <= 0x39) || $0 == 0x2D || $0 == 0x2E
            || $0 == 0x5F
        })
    else { return flaw("a host with characters that no host name has") }
    if !port.isEmpty {
      guard let number = wholeNumber(port.dropFirst()), port.first == ":", (1...65535).contains(number) else {
        return flaw("a port that is no number from 1 to 65535")
      }
    }
    while path.last == "/" { path = path.dropLast() }
    if path.isEmpty, dialect == .openai { path = host.lowercased().hasSuffix(".azure.com") ? "/openai/v1" : "/v1" }
    switch dialect {
    case .anthropic? where path.hasSuffix("/v1"):
      return flaw("/v1 at the end, which the paths of this dialect bring along", allowed: "the URL without /v1")
    case .gemini? where path.hasSuffix("/v1beta"):
      return flaw("/v1beta at the end, which the paths of this dialect bring along", allowed: "the URL without /v1beta")
    default: break
    }
    return .success(
      BaseURL(text: (isSecure ? "https://" : "http://") + authority.lowercased() + path, isSecure: isSecure))
  }
}
