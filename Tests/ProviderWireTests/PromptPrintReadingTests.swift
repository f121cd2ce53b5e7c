// What of a body is its prompt: the marks by which two prompts are compared stand along what providers cache, and along nothing else.
import Testing

@testable import AdmissionCore
@testable import ProviderWire

@Suite struct PromptPrintReadingTests {
  enum Wire: String, CaseIterable {
    case messages = "/v1/messages"
    case chat = "/v1/chat/completions"
    case responses = "/v1/responses"
    case gemini = "/v1beta/models/gemini-3-pro:generateContent"
  }

  private struct Prompt {
    var system = "You are a careful engineer. Today is 2026-11-30."
    var tool = "reads a file"
    var texts = (0..<24).map { "text \($0) " + String(repeating: "abcdefgh", count: 100) }
    /// The text behind which the prefix to be cached ends.
    var marker: Int?
    var options = #""stream":true"#

    func body(_ wire: Wire) -> String {
      let texts = texts.enumerated().map { number, text in
        let role = number % 2 == 0 ? "user" : "assistant"
        let control = marker == number ? #","cache_control":{"type":"ephemeral","ttl":"1h"}"# : ""
        switch wire {
        case .messages: return #"{"role":"\#(role)","content":[{"type":"text","text":"\#(text)"\#(control)}]}"#
        case .chat: return #"{"role":"\#(role)","content":"\#(text)"}"#
        case .responses:
          return #"{"type":"message","role":"\#(role)","content":[{"type":"input_text","text":"\#(text)"}]}"#
        case .gemini: return #"{"role":"\#(role)","parts":[{"text":"\#(text)"}]}"#
        }
      }.joined(separator: ",")
      switch wire {
      case .messages:
        return
          #"{"model":"m","messages":[\#(texts)],"system":[{"type":"text","text":"\#(system)"}],"tools":[{"name":"t","description":"\#(tool)","input_schema":{"type":"object"}}],\#(options)}"#
      case .chat:
        return
          #"{"model":"m","messages":[{"role":"system","content":"\#(system)"},\#(texts)],"tools":[{"type":"function","function":{"name":"t","description":"\#(tool)"}}],\#(options)}"#
      case .responses:
        return
          #"{"model":"m","input":[\#(texts)],"instructions":"\#(system)","tools":[{"type":"function","name":"t","description":"\#(tool)"}],\#(options)}"#
      case .gemini:
        return
          #"{"contents":[\#(texts)],"systemInstruction":{"parts":[{"text":"\#(system)"}]},"tools":[{"functionDeclarations":[{"name":"t","description":"\#(tool)"}]}],"toolConfig":{}}"#
      }
    }
  }

  private func print(_ prompt: Prompt, _ wire: Wire) throws -> PromptPrint {
    var reader = RequestReader()
    let path = try #require(PathFacts.read(path: wire.rawValue[...]))
    let body = prompt.body(wire)
    guard
      case .facts(let facts) = reader.read(
        Array(body.utf8), path: path, contentType: nil, contentEncoding: nil, decodedLimit: 1 << 20)
    else {
      Issue.record("\(body.prefix(300))")
      return .none
    }
    return facts.print
  }

  @Test(arguments: Wire.allCases) func aConversationThatGoesOnBeginsAlike(wire: Wire) throws {
    var prompt = Prompt()
    prompt.marker = 23
    let before = try print(prompt, wire)
    prompt.texts += ["one more", "and another " + String(repeating: "x", count: 9000)]
    prompt.marker = 25
    prompt.options = #""stream":false,"temperature":1,"max_tokens":9,"metadata":{"user_id":"somebody"}"#
    let found = try print(prompt, wire).compared(with: before.kept)
    #expect(found == (16_384, false))
    #expect(try print(Prompt(), wire) == print(Prompt(), wire))
  }

  @Test(arguments: Wire.allCases) func aChangeIsFoundWhereverItIs(wire: Wire) throws {
    let before = try print(Prompt(), wire)
    var day = Prompt()
    day.system = "You are a careful engineer. Today is 2026-12-01."
    #expect(try print(day, wire).compared(with: before.kept).differs)
    var tool = Prompt()
    tool.tool = "reads a pile"
    #expect(try print(tool, wire).compared(with: before.kept) == (0, true))
    var text = Prompt()
    // One letter in the middle of a text, which stays as long as it was.
    text.texts[9] = text.texts[9].replacingOccurrences("text 9 a", "text 9 b")
    #expect(try print(text, wire).compared(with: before.kept) == (4096, true))
    var less = Prompt()
    less.texts.removeFirst(2)
    #expect(try print(less, wire).compared(with: before.kept).differs)
  }

  @Test func longTextsAreComparedAtBothEnds() {
    func hash(_ change: (inout [UInt8]) -> Void) -> UInt64 {
      var text =
        Array(#"{"messages":[{"role":"user","content":""#.utf8) + Array(repeating: UInt8(ascii: "a"), count: 200_000)
      text += Array(#""}]}"#.utf8)
      change(&text)
      return WireScratch().walk(text[...]) { walk in
        var longest: UInt64 = 0
        while walk.next() != .end, walk.kind != .error {
          if walk.kind == .string, walk.end - walk.start > 1000 { longest = walk.print }
        }
        return longest
      }
    }
    let plain = hash { _ in }
    #expect(plain != 0)
    #expect(hash { $0[50] = UInt8(ascii: "b") } != plain)
    #expect(hash { $0[$0.count - 10] = UInt8(ascii: "b") } != plain)
    #expect(hash { $0.insert(UInt8(ascii: "a"), at: 100_000) } != plain)
    // What is in the middle of a file is not looked at.
    #expect(hash { $0[100_000] = UInt8(ascii: "b") } == plain)
  }
}

extension String {
  fileprivate func replacingOccurrences(_ old: String, _ new: String) -> String {
    guard let range = ranges(of: old).first else { return self }
    return replacingCharacters(range, new)
  }

  private func replacingCharacters(_ range: Range<String.Index>, _ new: String) -> String {
    String(self[..<range.lowerBound]) + new + String(self[range.upperBound...])
  }
}
