// Tollgate's own path prefixes: `/x/{name=value,...}/` carries hints, `/p/{provider}/` names the provider. The rest is
// the path that the provider sees, byte for byte; only where no provider is named, a path that comes from a base URL
// that is one step off becomes the one that is meant.
import HTTPMessage
import ProviderWire
import TextForms

/// A request target with our prefixes taken off.
struct RequestTarget: Equatable {
  /// `x-tollgate-*` hints by their short names: `priority`, `kind`, `session`, `provider`.
  var hints: [String: String] = [:]
  /// From `/p/` or the hint `provider`.
  var provider: String?
  /// Path and query for the provider.
  let rest: String
  /// Path and query as the client wrote them, where `rest` is the path that is meant; nil where it is the same.
  let written: String?
  /// The whole path before the query; a record keeps only its beginning.
  let path: Substring
  /// The text behind the question mark; nil where there is none.
  let query: Substring?

  /// True where the target is a path alone: it has no query, and had no prefix of ours.
  var isPlain: Bool { query == nil && provider == nil && hints.isEmpty }

  static let hintNames: Set<String> = ["priority", "kind", "session", "provider"]

  /// Why a target with our prefix cannot be read.
  struct Mistake: Error, Equatable {
    var message: String
  }

  /// For error answers: takes a target that cannot be read as it is.
  init(readable target: String) {
    do {
      self = try RequestTarget(target)
    } catch {
      rest = target
      written = nil
      (path, query) = TargetText(target).halves
    }
  }

  init(_ target: String) throws(Mistake) {
    // The common case costs two byte comparisons.
    let asked =
      target.utf8.starts(with: "/x/".utf8) || target.utf8.starts(with: "/p/".utf8)
      ? try RequestTarget.takePrefixes(of: target, &hints, &provider) : target
    let halves = TargetText(asked).halves
    // Below a named provider the path is kept.
    guard provider == nil, let meant = PathFacts.folded(halves.path) else {
      (rest, written) = (asked, nil)
      (path, query) = halves
      return
    }
    rest = halves.query.map { meant + "?" + $0 } ?? meant
    written = asked
    (path, query) = TargetText(rest).halves
  }

  private static func takePrefixes(
    of target: String, _ hints: inout [String: String], _ provider: inout String?
  ) throws(Mistake) -> String {
    var rest = target
    if rest.utf8.starts(with: "/x/".utf8) {
      let list = RequestTarget.segment(of: rest, after: 3)
      for pair in list.text.split(separator: ",") {
        guard let equals = pair.firstIndex(of: "=") else {
          throw Mistake(
            message:
              "the path prefix /x/ takes name=value pairs, found '\(RecordText.cut(String(pair), to: 64))'; allowed names are "
              + "priority, kind, session and provider")
        }
        let name = String(pair[..<equals])
        guard RequestTarget.hintNames.contains(name) else {
          throw Mistake(
            message:
              "the path prefix /x/ has no hint '\(RecordText.cut(name, to: 64))'; allowed are priority, kind, session and provider"
          )
        }
        hints[name] = PercentEscapes.decoded(pair[pair.index(after: equals)...])
      }
      rest = list.rest
      provider = hints["provider"]
    }
    if rest.utf8.starts(with: "/p/".utf8) {
      let name = RequestTarget.segment(of: rest, after: 3)
      guard !name.text.isEmpty else {
        throw Mistake(message: "the path prefix /p/ must name a provider: /p/{provider}/v1/...")
      }
      provider = PercentEscapes.decoded(name.text)
      rest = name.rest
    }
    return rest
  }

  /// The text from `offset` to the next slash or question mark, and the rest from there on.
  private static func segment(of target: String, after offset: Int) -> (text: Substring, rest: String) {
    let start = target.utf8.index(target.startIndex, offsetBy: offset)
    var end = start
    while end != target.endIndex, target.utf8[end] != UInt8(ascii: "/"), target.utf8[end] != UInt8(ascii: "?") {
      end = target.utf8.index(after: end)
    }
    let rest = target[end...]
    return (target[start..<end], rest.utf8.first == UInt8(ascii: "/") ? String(rest) : "/" + rest)
  }
}
