// A fingerprint of a prompt, by which the beginnings of two prompts are compared without their text.
//
// Promise: constant size, and nothing of the text can be read from it. Prompts that begin alike have equal marks as far
// as both go, whatever follows; a difference shows in every mark behind it. Marks stand at each doubling, so that at
// least half of a prompt is compared.

/// Marks along a prompt.
public struct PromptPrint: Sendable, Equatable {
  /// 0: tools and instructions, which providers put first. 1 and more: the conversation from its beginning up to the
  /// first text that reaches 1 KiB, 2 KiB, 4 KiB, ... 0 where the prompt is shorter.
  private var marks = SIMD16<UInt32>.zero
  private var before: UInt64 = 0
  private var conversation: UInt64 = 0
  private var bytes: Int64 = 0
  private var next = 1

  /// The print of no prompt.
  public static let none = PromptPrint()

  public init() {}

  /// Adds the next text of the tools or instructions.
  /// - Parameter hash: of the text.
  public mutating func addInstruction(_ hash: UInt64) {
    before = Self.mixed(before, hash)
    marks[0] = Self.mark(before)
  }

  /// Adds the next text of the conversation.
  public mutating func addText(_ hash: UInt64, bytes count: Int) {
    conversation = Self.mixed(conversation, hash)
    bytes = bytes.saturatingAdding(Int64(max(0, count)))
    while next < 16, bytes >= Int64(512) << Int64(next) {
      marks[next] = Self.mark(conversation)
      next += 1
    }
  }

  private static func mixed(_ sum: UInt64, _ hash: UInt64) -> UInt64 {
    let mixed = (sum ^ hash) &* 0x9E37_79B9_7F4A_7C15
    return mixed ^ (mixed >> 29)
  }

  private static func mark(_ sum: UInt64) -> UInt32 { max(1, UInt32(truncatingIfNeeded: sum >> 32)) }

  /// True for a conversation of less than 64 KiB; false where it is longer, or where nothing is known of it.
  var isOfBeginning: Bool { self != .none && marks[7] == 0 }

  /// What is kept of a call that is over.
  var kept: SIMD16<UInt32> { marks }

  /// How far this prompt begins like an earlier one.
  /// - Returns: how many bytes of the conversation were found alike, and whether a difference was found.
  func compared(with earlier: SIMD16<UInt32>) -> (alike: Int, differs: Bool) {
    guard marks[0] == earlier[0] else { return (0, true) }
    var alike = 0
    for place in 1..<16 where marks[place] != 0 && earlier[place] != 0 {
      guard marks[place] == earlier[place] else { return (alike, true) }
      alike = 512 << place
    }
    return (alike, false)
  }

  public static func == (one: PromptPrint, other: PromptPrint) -> Bool { one.marks == other.marks }
}
