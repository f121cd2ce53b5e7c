// The operator's policy, checked and with every default filled in (docs/reference/policy.md). `PolicyParser` makes it
// from YAML text.
import AdmissionCore
import TextForms

/// The whole policy file. Providers' secrets are references here, and client keys are hashes.
public struct Policy: Sendable, Equatable {
  public var listen: [ListenAddress] = [.tcp(host: "127.0.0.1", port: 4141)]
  public var tls: TLSFiles?
  public var admin = AdminSettings()
  public var store: StoreLocation = .file("tollgate.db")
  public var durability: Durability = .batched
  public var drainTimeout: Duration = .seconds(30)
  /// Bytes.
  public var maxBody = 32 << 20
  /// The most bytes of clients' bodies and texts, in any state, that the process may hold.
  public var memory = Policy.defaultMemory
  public var providers: [Provider] = []
  public var routes: [Route] = []
  /// True for the policy of a broker that was given none: it knows which variable a model lacks.
  public var isBuiltIn = false
  /// Indexed by `Priority.rawValue`; always three.
  public var bands: [BandPolicy] = Priority.allCases.map(BandPolicy.standard)
  public var defaultPriority: Priority = .normal
  /// Bytes.
  public var queueBytes = 256 << 20
  /// How many calls one session runs at once; nil is no limit.
  public var sessionConcurrency: SessionConcurrency?
  static let defaultSessionLimit = 8
  /// The built-in kinds, extended or overridden by the file's own. Names are in lower case.
  public var kinds: [String: Priority] = Kinds.builtIn
  /// The kinds that take the class of their session's last turn.
  public var inherit: [String] = Kinds.inheriting
  public var rules: [Rule] = []
  /// How long a stream that has begun may be silent before its client gets a comment or ping; nil never sends any.
  public var keepalive: Duration?
  public var trustTenantHeader = false
  /// Where empty, there is one tenant, `default`, and no client key is required.
  public var tenants: [Tenant] = []
  public var budgets: [Budget] = []
  /// The path of the prices file, relative to the policy file; nil means the built-in table.
  public var prices: String?
  public var unknownPrice: UnknownPrice = .allow
  /// Origins of web pages that may call the data port, as globs. Pages of this machine always may.
  public var corsOrigins: [Glob] = []
  public var alerts = AlertSettings()
  public var log = LogSettings()
  /// Further host names, in lower case and without port, by which the data port may be called where no client key is
  /// required.
  public var hosts: [String] = []
  /// Whom to tell about events.
  public var webhooks: [Webhook] = []
  /// Which collector is told of calls; nil where none is.
  public var otlp: TelemetrySettings?

  public init() {}

  static let defaultMemory = 512 << 20
}

public enum ListenAddress: Sendable, Hashable, CustomStringConvertible {
  /// `host` without brackets.
  case tcp(host: String, port: Int)
  case unix(path: String)

  public var description: String {
    switch self {
    case .tcp(let host, let port): host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    case .unix(let path): "unix:\(path)"
    }
  }
  /// True where only this machine can connect.
  public var isLoopback: Bool {
    switch self {
    case .tcp(let host, _): IPAddress.isLoopback(host)
    case .unix: true
    }
  }
}

public struct TLSFiles: Sendable, Equatable {
  public var certificate: String
  public var key: String
  public init(certificate: String, key: String) {
    self.certificate = certificate
    self.key = key
  }
}

public struct AdminSettings: Sendable, Equatable {
  /// nil means `off`.
  public var listen: ListenAddress? = .tcp(host: "127.0.0.1", port: 4142)
  /// The token that allows everything.
  public var token: Secret?
  /// The token that reads everything and changes nothing, such as for Prometheus.
  public var readToken: Secret?
  /// Read-only tokens for one tenant each.
  public var tenantTokens: [TenantToken] = []
  public init() {}
}

/// A read-only token for one tenant's requests, usage and budgets.
public struct TenantToken: Sendable, Equatable {
  public var tenant: String
  public var token: Secret
  public init(tenant: String, token: Secret) {
    self.tenant = tenant
    self.token = token
  }
}

/// A text that must not be shown: it prints as bullets and its last four characters.
public struct Secret: Sendable, Hashable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
  public let revealed: String
  public init(_ text: String) { revealed = text }
  /// `•••abcd`; nothing of a secret shorter than 12 characters is shown.
  public var description: String { "•••" + (revealed.count >= 12 ? String(revealed.suffix(4)) : "") }
  public var debugDescription: String { description }
  public var customMirror: Mirror { Mirror(self, children: []) }
}

public enum StoreLocation: Sendable, Equatable {
  case file(String)
  case memory
}
public enum Durability: String, Sendable { case batched, full }
public enum UnknownPrice: String, Sendable { case allow, reject }
public enum DialectName: String, Sendable, CaseIterable { case openai, anthropic, gemini }

/// An API of its own that a provider speaks beside that of its dialect.
public enum NativeAPI: String, Sendable, CaseIterable {
  case ollama
}

/// The header field in which a provider expects its key.
public enum AuthField: String, Sendable, CaseIterable {
  case bearer
  case xAPIKey = "x-api-key"
  case apiKey = "api-key"
  case xGoogAPIKey = "x-goog-api-key"

  /// The field's name on the wire.
  public var fieldName: String { self == .bearer ? "authorization" : rawValue }
}

/// A header field that is added to each call of a provider. Its value may be secret.
public struct AddedField: Sendable, Equatable {
  /// Lower case.
  public var name: String
  public var value: Secret
  /// True where the value, or a part of it, comes from a variable: then it is treated as a secret in the provider's
  /// answers.
  public var isSecret: Bool
  public init(name: String, value: Secret, isSecret: Bool = false) {
    self.name = name
    self.value = value
    self.isSecret = isSecret
  }
}

public struct Provider: Sendable, Equatable {
  public var id: String
  public var dialect: DialectName
  /// Scheme, host, port and path prefix, without a slash at the end: `https://api.openai.com/v1`.
  public var baseURL: String
  public var keys: [ProviderKey] = []
  public var limits = Limits()
  public var modelLimits: [ModelLimits] = []
  public var quota: Quota = .shared
  public var admissionTokens: AdmissionTokens
  public var learnLimits = true
  public var breaker: BreakerPolicy = .api
  public var connectTimeout: Duration = .seconds(5)
  public var firstByteTimeout: Duration = .seconds(600)
  public var idleTimeout: Duration = .seconds(600)
  public var totalTimeout: Duration = .seconds(3600)
  public var retry = RetryPolicy()
  public var injectUsage = true
  public var passThrough = false
  /// True where each key is tried once at the start by a free call.
  public var checkKeys = true
  public var settleLag: Duration = .zero
  /// Zero means off.
  public var ramp: Duration = .zero
  /// How long this provider keeps a prompt prefix where the request does not say.
  public var cacheLife: Duration = .seconds(300)
  /// A PEM file of certificate authorities; nil means the system's.
  public var caFile: String?
  /// `1.1` (default) or `2` (over TLS only).
  public var httpVersion = "1.1"
  public var auth: AuthField
  /// nil where the provider speaks its dialect only.
  public var native: NativeAPI?
  /// Fields that are added to each call; the client's fields of the same names are dropped.
  public var headers: [AddedField] = []

  public init(id: String, dialect: DialectName, baseURL: String) {
    self.id = id
    self.dialect = dialect
    self.baseURL = baseURL
    admissionTokens = dialect == .openai ? .maxTokens : .produced
    auth =
      switch dialect {
      case .openai: .bearer
      case .anthropic: .xAPIKey
      case .gemini: .xGoogAPIKey
      }
  }
}

public struct ProviderKey: Sendable, Equatable {
  public enum Source: Sendable, Equatable {
    case text(Secret)
    case file(path: String)
    case command([String])
  }
  public var id: String
  public var source: Source
  /// The environment variable that the secret comes from.
  public var variable: String?
  public var weight = 1
  public var limits = Limits()
  public var models: [Glob] = []
  /// The key is not used before this; nil means no bound.
  public var validFrom: WallInstant?
  /// The key is not used from this instant on; nil means no end.
  public var expires: WallInstant?
  public init(id: String, source: Source) {
    self.id = id
    self.source = source
  }

  /// Where the secret comes from: a variable's name or a file's path; nil where the policy contains the secret itself.
  public var sourceName: String? {
    switch source {
    case .text: variable
    case .file(let path): path
    case .command(let words): words.first
    }
  }
}

public struct Route: Sendable, Equatable {
  public var models: [Glob]
  /// Provider ids in order of preference. Empty only in the built-in policy, for models whose vendor has no key.
  public var to: [String]
  public init(models: [Glob], to: [String]) {
    self.models = models
    self.to = to
  }
}

/// A rule of classification: where all its conditions hold, it says the class, the kind or the session of a call.
public struct Rule: Sendable, Equatable {
  /// A condition on one header field.
  public struct HeaderPattern: Sendable, Equatable {
    /// Lower case.
    public var name: String
    public var value: Glob
    public init(_ name: String, _ value: Glob) {
      self.name = name
      self.value = value
    }
  }

  /// Where a rule takes the session's name from.
  public enum Session: Sendable, Equatable {
    case text(String)
    /// The value of this field, a name in lower case; without the field the rule says nothing of the session.
    case header(String)
  }

  public var path: Glob?
  public var model: Glob?
  public var tenant: Glob?
  public var headers: [HeaderPattern] = []
  /// Fields that the request must not have, in lower case.
  public var absentHeaders: [String] = []
  /// True where the rule passes over calls whose client says what they are for.
  public var onlyUnhinted = false
  public var priority: Priority?
  /// A name under `kinds:`, whose class the call has where `priority` is nil.
  public var kind: String?
  public var session: Session?

  public init(priority: Priority? = nil) { self.priority = priority }

  /// True where no later rule decides the class.
  public var decides: Bool { priority != nil || kind != nil }
}

public struct Tenant: Sendable, Equatable {
  /// A name that no tenant may have, since the broker's own budgets use it (`broker/day`).
  public static let reservedID = "broker"

  /// `*` is the template for names that are not listed.
  public var id: String
  public var keys: [ClientKeyHash] = []
  /// nil where the tenant does not decide the class.
  public var priority: Priority?
  public var maxPriority: Priority = .high
  public var weight = 1
  /// Empty means all models.
  public var models: [Glob] = []
  public var limits = Limits()
  public var budgets: [Budget] = []
  public init(id: String) { self.id = id }
}

/// SHA-256 of a client key, 32 bytes.
public struct ClientKeyHash: Sendable, Hashable {
  public var bytes: [UInt8]
  public init(bytes: [UInt8]) { self.bytes = bytes }
}

public struct Budget: Sendable, Equatable {
  public typealias Window = BudgetWindow.Period
  public typealias OnExceed = BudgetPolicy.OnExceed
  /// Whose spending is added up; `broker` only for budgets of the whole broker.
  public var scope: BudgetPolicy.Scope = .tenant
  /// The unit of `limit`: it is in nano-dollars only where this is `usd`.
  public var unit: BudgetUnit = .usd
  public var limit: Money
  public var per: Window
  /// The length of a rolling window in seconds; 0 for other windows.
  public var rolling: Int64 = 0
  /// IANA name.
  public var timeZone = "UTC"
  public var onExceed: OnExceed = .reject
  /// Percent of the limit.
  public var warnAtPercent = 80
  public init(limit: Money, per: Window) {
    self.limit = limit
    self.per = per
  }

  /// The budget as the core needs it.
  var admission: BudgetPolicy {
    BudgetPolicy(
      scope: scope, window: rolling > 0 ? BudgetWindow(rolling: rolling) : BudgetWindow(per, timeZone: timeZone),
      unit: unit, limit: limit, onExceed: onExceed,
      warnAtPercent: warnAtPercent)
  }
}

extension Policy {
  /// The policy as the admission core needs it.
  public var admission: AdmissionPolicy {
    AdmissionPolicy(
      providers: providers.map { provider in
        ProviderPolicy(
          id: ProviderID(provider.id), limits: provider.limits, modelLimits: provider.modelLimits,
          keys: provider.keys.map {
            KeyPolicy(id: KeyID($0.id), weight: $0.weight, limits: $0.limits, models: $0.models)
          },
          quota: provider.quota, admissionTokens: provider.admissionTokens, learnLimits: provider.learnLimits,
          breaker: provider.breaker, retry: provider.retry, settleLag: Span(provider.settleLag),
          ramp: Span(provider.ramp), cacheLife: Span(provider.cacheLife))
      }.clustered(by: routes),
      bands: bands,
      tenants: tenants.isEmpty
        ? [TenantPolicy(id: "default")]
        : tenants.filter { $0.id != "*" }.map {
          TenantPolicy(
            id: TenantID($0.id), weight: $0.weight, limits: $0.limits, budgets: $0.budgets.map(\.admission))
        },
      tenantTemplate: tenants.first { $0.id == "*" }.map {
        TenantPolicy(id: "*", weight: $0.weight, limits: $0.limits, budgets: $0.budgets.map(\.admission))
      },
      queueBytes: queueBytes, budgets: budgets.map(\.admission), sessionConcurrency: sessionConcurrency)
  }
}

extension Span {
  public init(_ duration: Duration) {
    let (seconds, attoseconds) = duration.components
    self.init(nanoseconds: seconds &* 1_000_000_000 &+ attoseconds / 1_000_000_000)
  }
}
