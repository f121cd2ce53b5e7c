// How OpenTelemetry's conventions for generative AI call what a broker knows: providers, operations, routes, errors.
//
// Promise: every name comes from a closed set, whatever clients and providers send.
import AdmissionCore
import HTTPMessage
import PolicyFile
import ProviderWire

/// A provider as spans and metrics name it.
public struct ProviderLabels: Hashable, Sendable {
  /// `gen_ai.provider.name`: by the address where it is a well-known one, else by the dialect.
  public var name: String
  public var host: String
  public var port: Int

  public init(_ provider: Provider) {
    let isSecure = provider.baseURL.hasPrefix("https://")
    let authority = provider.baseURL.dropFirst(isSecure ? 8 : 7).prefix { $0 != "/" }
    let bracket = authority.hasPrefix("[") ? authority.firstIndex(of: "]") : nil
    let colon = authority[(bracket ?? authority.startIndex)...].firstIndex(of: ":")
    let host = authority[..<(colon ?? authority.endIndex)].drop { $0 == "[" }
    self.host = String(host.last == "]" ? host.dropLast() : host)
    port = colon.flatMap { Int(authority[authority.index(after: $0)...]) } ?? (isSecure ? 443 : 80)
    name = ProviderLabels.name(ofHost: self.host) ?? ProviderLabels.name(of: provider.dialect)
  }

  private static func name(ofHost host: String) -> String? {
    let ends: [(String, String)] = [
      (".openai.azure.com", "azure.ai.openai"), (".services.ai.azure.com", "azure.ai.inference"),
      (".models.ai.azure.com", "azure.ai.inference"), ("api.openai.com", "openai"), ("api.anthropic.com", "anthropic"),
      ("generativelanguage.googleapis.com", "gcp.gemini"), ("aiplatform.googleapis.com", "gcp.vertex_ai"),
      ("api.groq.com", "groq"), ("api.mistral.ai", "mistral_ai"), ("api.x.ai", "x_ai"),
      ("api.deepseek.com", "deepseek"), ("api.perplexity.ai", "perplexity"), ("api.cohere.com", "cohere"),
      ("api.cohere.ai", "cohere"), (".ml.cloud.ibm.com", "ibm.watsonx.ai"),
    ]
    if host.hasSuffix(".amazonaws.com"), host.hasPrefix("bedrock") { return "aws.bedrock" }
    if host.hasSuffix("-aiplatform.googleapis.com") { return "gcp.vertex_ai" }
    // Regions of a vendor stand before its name: eu.api.openai.com.
    return ends.first { end, _ in host == end || host.hasSuffix(end.hasPrefix(".") ? end : "." + end) }?.1
  }

  private static func name(of dialect: DialectName) -> String {
    switch dialect {
    case .openai: "openai"
    case .anthropic: "anthropic"
    case .gemini: "gcp.gemini"
    }
  }
}

/// What OpenTelemetry's conventions call the things that a broker knows.
enum GenAI {
  static let otherMethod = "_OTHER"

  /// Methods come from clients; others than these have no name of their own.
  static func method(_ method: String) -> String {
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"].contains(method)
      ? method : otherMethod
  }

  /// The path, where it is one of a few; nil where names or ids stand in it.
  static func route(_ path: String) -> String? {
    guard let facts = PathFacts.read(path: path[...]), facts.modelInPath == nil, path.last != "/" else { return nil }
    return isFixed(facts.endpoint) ? path : nil
  }

  private static func isFixed(_ endpoint: WireEndpoint) -> Bool {
    switch endpoint {
    case .files, .messageBatches, .geminiGenerate, .geminiStream, .geminiCountTokens, .geminiEmbed, .other: false
    default: true
    }
  }

  /// `gen_ai.operation.name`: a well-known one, or our own word; nil where no model is asked.
  static func operation(at path: String) -> String? {
    switch PathFacts.read(path: path[...], anyPath: true)?.endpoint {
    case .chatCompletions, .responses, .responsesCompact, .messages, .cohereChat, .ollamaChat: "chat"
    case .completions, .ollamaGenerate: "text_completion"
    case .embeddings, .geminiEmbed, .cohereEmbed, .ollamaEmbed: "embeddings"
    case .geminiGenerate, .geminiStream: "generate_content"
    case .models, .files, .messageBatches, .ollamaShow, .other, nil: nil
    case let other?: other.rawValue
    }
  }

  /// The class of an attempt's error, from a closed set; nil where it is none. That a client left is none.
  static func error(_ attempt: RequestRecord.Attempt) -> String? {
    guard let verdict = attempt.verdict, verdict != .success, verdict != .clientLeft else { return nil }
    if let status = attempt.status, status >= 400 {
      let known = LabelPolicy.status(status)
      return known == 0 ? otherMethod : String(known)
    }
    if let failure = attempt.failure, let kind = UpstreamFailure.Kind(rawValue: failure) { return kind.rawValue }
    return verdict.rawValue
  }
}
