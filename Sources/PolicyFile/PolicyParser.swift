// Parses the policy file's text into a checked `Policy` (docs/reference/policy.md describes every field).
//
// Promises: pure (no file is opened: files of secrets, certificates and prices are only named); all mistakes are
// reported, sorted by place; a policy is returned only where there is no mistake.
import AdmissionCore
import TextForms

/// The result of parsing a policy file: a policy, or its mistakes.
public struct PolicyParsing: Sendable, Equatable {
  /// nil if and only if `diagnostics` is not empty.
  public var policy: Policy?
  /// In the file's order.
  public var diagnostics: [Diagnostic]
}

public enum PolicyParser {
  /// - Parameters:
  ///   - text: the file's content, YAML 1.2, at most 4 MiB.
  ///   - file: its name, for diagnostics only.
  ///   - environment: the variables for `${NAME}`.
  ///   - knowsTimeZone: says whether this machine has rules for a time zone; nil checks only the form of its name.
  public static func parse(
    text: String, file: String, environment: [String: String], knowsTimeZone: ((String) -> Bool)? = nil
  ) -> PolicyParsing {
    let reader = FieldReader(file: file)
    let document = YAMLDocument(text: quotingMemoryStore(text), environment: environment)
    for mistake in document.mistakes { reader.report(mistake.position, mistake.field, mistake.message) }
    var policy = Policy()
    if let root = document.root, let top = reader.fields(root, "", known: topFields) {
      policy = PolicyBuilder(reader: reader, knowsTimeZone: knowsTimeZone ?? { _ in true }).policy(top)
    }
    let diagnostics = reader.diagnostics
    return PolicyParsing(policy: diagnostics.isEmpty ? policy : nil, diagnostics: diagnostics)
  }

  /// Puts the value of `store: memory:` in quotes, since YAML would take it for the start of a mapping.
  private static func quotingMemoryStore(_ text: String) -> String {
    guard text.utf8.count <= YAMLDocument.byteLimit, text.contains("memory:") else { return text }
    return text.split(separator: "\n", omittingEmptySubsequences: false).map { line in
      guard line.hasPrefix("store:") else { return String(line) }
      let value = line.dropFirst("store:".count)
      let comment = value.firstRange(of: " #")?.lowerBound ?? value.endIndex
      guard ASCIIText.trimmed(String(value[..<comment])) == "memory:", value.first == " " else { return String(line) }
      return "store: \"memory:\"" + value[comment...]
    }.joined(separator: "\n")
  }

  static let topFields = [
    "version", "listen", "tls", "admin", "store", "durability", "drain_timeout", "max_body", "memory",
    "providers", "routes",
    "priorities", "default_priority", "queue_bytes", "session_concurrency", "kinds", "rules", "inherit", "keepalive",
    "trust_tenant_header", "tenants", "budgets",
    "prices", "unknown_price", "cors", "hosts", "alerts", "log", "webhooks", "otlp",
  ]
}

/// Builds the policy section by section; each section has a file of its own.
struct PolicyBuilder {
  let reader: FieldReader
  let knowsTimeZone: (String) -> Bool

  func policy(_ top: Fields) -> Policy {
    var policy = Policy()
    if let (text, node) = top.scalar("version", allowed: "1"), text != "1" {
      reader.report(node.position, "version", "found \(node.found), allowed: 1")
    }
    readListeners(top, &policy)
    readSites(top, &policy)
    readProcess(top, &policy)
    let providerIDs = readProviders(top, &policy)
    readRoutes(top, providerIDs, &policy)
    readPriorities(top, &policy)
    policy.sessionConcurrency = sessionConcurrency(top)
    readKinds(top, &policy)
    readInheritance(top, &policy)
    policy.keepalive = top.duration("keepalive", .seconds(1) ... .seconds(600), orOff: true)
    readRules(top, &policy)
    readTenants(top, &policy)
    policy.budgets = budgets(top, ofBroker: true)
    readWatching(top, &policy)
    readWebhooks(top, &policy)
    readTelemetry(top, &policy)
    checkListeners(top, policy)
    return policy
  }

  private func readProcess(_ top: Fields, _ policy: inout Policy) {
    if let (text, node) = top.scalar("store", allowed: StoreLocation.allowed) {
      if let store = StoreLocation(text) {
        policy.store = store
      } else {
        reader.report(node.position, "store", "found \(node.found), allowed: \(StoreLocation.allowed)")
      }
    }
    policy.durability = top.choice("durability", [("batched", .batched), ("full", .full)]) ?? policy.durability
    policy.drainTimeout = top.duration("drain_timeout", .zero ... .seconds(3600)) ?? policy.drainTimeout
    policy.maxBody = top.size("max_body", 1 << 10...1 << 30) ?? policy.maxBody
    readMemory(top, &policy)
    policy.trustTenantHeader = top.flag("trust_tenant_header") ?? policy.trustTenantHeader
    policy.prices = top.filePath("prices")
    policy.unknownPrice = top.choice("unknown_price", [("allow", .allow), ("reject", .reject)]) ?? policy.unknownPrice
  }

  /// nil where the section is missing: sessions run as many calls as they can.
  private func sessionConcurrency(_ top: Fields) -> SessionConcurrency? {
    guard let node = top["session_concurrency"],
      let fields = reader.fields(node, "session_concurrency", known: ["limit", "widen"])
    else { return nil }
    return SessionConcurrency(
      limit: fields.integer("limit", 1...100_000).map { Int($0) } ?? Policy.defaultSessionLimit,
      widen: fields.flag("widen") ?? true)
  }

  /// Queued bytes are part of the memory: without a number of its own, the queue may use all of it.
  private func readMemory(_ top: Fields, _ policy: inout Policy) {
    policy.memory = top.size("memory", 1 << 20...1 << 40) ?? policy.memory
    guard let queueBytes = top.size("queue_bytes", 1 << 10...1 << 40) else {
      policy.queueBytes = min(policy.queueBytes, policy.memory)
      return
    }
    policy.queueBytes = queueBytes
    if queueBytes > policy.memory, let node = top["queue_bytes"] {
      reader.report(
        node.position, "queue_bytes",
        "found \(node.found), allowed: at most memory, which is \(sizeText(policy.memory)): what waits is part of it")
    }
  }
}

extension StoreLocation {
  static let allowed = "a path such as tollgate.db, sqlite:///PATH, memory:"

  /// From the text of the policy or of `--store`; nil where the text is neither a path nor a known scheme.
  public init?(_ text: String) {
    if text == "memory:" {
      self = .memory
    } else if text.hasPrefix("sqlite://") {
      let path = text.dropFirst("sqlite://".count)
      guard path.hasPrefix("/"), path.utf8.count > 1, path.last != "/" else { return nil }
      self = .file(String(path))
    } else {
      // `postgres://...`, `:memory:` and the like are not meant as file names.
      guard !text.isEmpty, !text.contains("://"), !text.hasPrefix(":"), !text.hasPrefix("sqlite:"), text.last != "/",
        !text.utf8.contains(0)
      else { return nil }
      self = .file(text)
    }
  }
}
