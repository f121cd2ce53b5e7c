// What a body says to a model, in the order in which vendors read it, as hashes of its beginnings: two prompts share a hash
// exactly as far as they say the same. The order of fields, spaces and `cache_control` do not count; every other byte does.
//
// Vendors read tools first, then the system text, then the messages. Where a prompt is marked, its beginnings end with
// blocks (a tool, a part of the system text, a part of a message); where the vendor caches by itself, every so many tokens.

/// How long a marked prefix is kept.
enum CacheLife: Equatable {
  /// `"5m"`, and where no time is named.
  case short
  /// `"1h"`.
  case hour
}

/// The parts of a prompt, in the order in which vendors read them.
enum PromptSegment: CaseIterable {
  case tools
  case system
  case messages

  /// Nil for a top-level field that says nothing to the model.
  init?(field: String) {
    switch field {
    case "tools", "functions": self = .tools
    case "system", "instructions": self = .system
    case "messages", "input", "prompt": self = .messages
    default: return nil
    }
  }
}

/// A range of the body's bytes, and how it counts.
struct PromptPiece: Equatable {
  enum Kind: UInt8 {
    case text
    /// A name, a role, a number: not counted as text, and part of the prompt all the same.
    case mark
    case tokenID
    case media
  }
  var kind: Kind
  var range: Range<Int>
}

/// What Anthropic hashes as one: a tool, a part of the system text, a part of a message.
struct PromptBlock: Equatable {
  var segment: PromptSegment
  /// Of the request's pieces.
  var pieces: Range<Int>
  /// Where the role of its message stands in the body; empty where it has none.
  var role: Range<Int> = 0..<0
  /// Set where the block is marked by `cache_control`.
  var life: CacheLife?
}

/// Walks the beginnings of one prompt. Linear in the prompt's bytes.
struct PromptPrefixes {
  /// The end of a block.
  struct Position: Equatable {
    var hash: UInt64
    /// Tokens from the beginning of the prompt.
    var tokens: Int
    var life: CacheLife?
  }

  private let body: [UInt8]
  private let request: SimulatedRequest
  private let ratio: Double
  private var hash: UInt64 = 0xCBF2_9CE4_8422_2325
  private var textBytes = 0
  /// Tokens that are no text.
  private var others = 0

  /// - Parameter scope: what must be equal too, such as the organisation and the model.
  init(_ request: SimulatedRequest, body: [UInt8], ratio: Double, scope: [String]) {
    self.body = body
    self.request = request
    self.ratio = ratio
    for part in scope {
      for byte in part.utf8 { mix(byte) }
      mix(0xFF)
    }
  }

  private mutating func mix(_ byte: UInt8) { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }

  private mutating func mix(_ range: Range<Int>) {
    for index in range { mix(body[index]) }
  }

  /// The hash of everything so far. Bytes that differ by one bit give hashes that differ in half of theirs.
  private var name: UInt64 {
    var name = (hash ^ (hash >> 32)) &* 0xFF51_AFD7_ED55_8CCD
    name = (name ^ (name >> 33)) &* 0xC4CE_B9FE_1A85_EC53
    return name ^ (name >> 29)
  }

  /// The ends of all blocks.
  func blocks() -> [Position] {
    var walk = self
    var positions: [Position] = []
    for segment in PromptSegment.allCases {
      // What the vendor puts between the system text and the messages: a change keeps only what comes before.
      if segment == .messages { for range in request.switches { walk.mix(range) } }
      for block in request.blocks where block.segment == segment {
        walk.begin(block)
        for piece in request.pieces[block.pieces] {
          walk.begin(piece)
          walk.mix(piece.range)
          walk.count(piece, bytes: piece.range.count)
        }
        positions.append(Position(hash: walk.name, tokens: walk.tokens(.up), life: block.life))
      }
    }
    return positions
  }

  /// The hashes of the first `first` tokens, and of `step` more each, as far as the prompt goes.
  func steps(of step: Int, from first: Int) -> [UInt64] {
    var walk = self
    var hashes: [UInt64] = []
    var next = first
    func note(_ walk: PromptPrefixes) {
      while walk.tokens(.down) >= next {
        hashes.append(walk.name ^ UInt64(next))
        next += step
      }
    }
    for segment in PromptSegment.allCases {
      for block in request.blocks where block.segment == segment {
        walk.begin(block)
        for piece in request.pieces[block.pieces] {
          walk.begin(piece)
          var at = piece.range.lowerBound
          // Text is cut where a step ends, so that prompts which part in its middle share what comes before.
          while piece.kind == .text, at < piece.range.upperBound {
            let end = min(piece.range.upperBound, at + walk.bytes(until: next))
            walk.mix(at..<end)
            walk.count(piece, bytes: end - at)
            at = end
            note(walk)
          }
          if piece.kind != .text {
            walk.mix(piece.range)
            walk.count(piece, bytes: 0)
            note(walk)
          }
        }
      }
    }
    return hashes
  }

  private mutating func begin(_ block: PromptBlock) {
    mix(0xFE)
    mix(block.role)
  }

  private mutating func begin(_ piece: PromptPiece) { mix(0xF8 + piece.kind.rawValue) }

  private mutating func count(_ piece: PromptPiece, bytes: Int) {
    switch piece.kind {
    case .text: textBytes += bytes
    case .mark: break
    case .tokenID: others += 1
    case .media: others += SimulatedRequest.mediaTokens
    }
  }

  private func tokens(_ rule: FloatingPointRoundingRule) -> Int {
    Int((Double(textBytes) / 4 * ratio).rounded(rule)) + others
  }

  /// How many bytes of text are missing until there are this many tokens; one at least.
  private func bytes(until tokens: Int) -> Int {
    max(1, Int((Double(tokens - others) * 4 / ratio).rounded(.up)) - textBytes)
  }
}
