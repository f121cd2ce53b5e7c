// What is read from request bodies, and what is no JSON object.
import Testing

@testable import ProviderSimulator

@Suite struct SimulatedRequestTests {
  private func read(_ text: String) -> SimulatedRequest? { SimulatedRequest(Array(text.utf8)) }

  @Test(arguments: [
    "", "[]", "{", "{\"a\":}", "{\"a\":1,}", "{\"a\" 1}", "{\"a\":1}x", "{\"a\":\"\n\"}", "{\"a\":tru}", "{\"a\":-}",
    "{\"a\":\"\\", "{'a':1}",
  ])
  func brokenTextIsRefused(text: String) { #expect(read(text) == nil) }

  @Test func endlessNestingIsRefused() {
    #expect(read("{\"a\":" + String(repeating: "[", count: 100_000)) == nil)
  }

  @Test func factsOfAChatAreFound() {
    let reading = read(
      """
      {"model":"m","stream":true,"stream_options":{"include_usage":true},"max_tokens":7,"max_completion_tokens":9,"n":2,
       "messages":[{"role":"user","content":"abcd"},{"role":"user","content":[{"type":"text","text":"é"},
       {"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]}],"prompt_cache_key":"s"}
      """)
    #expect(reading?.model == "m")
    #expect(reading?.isStream == true)
    #expect(reading?.includesUsage == true)
    #expect(reading?.outputCap == 9)
    #expect(reading?.choices == 2)
    #expect(reading?.textBytes == 6)
    #expect(reading?.characters == 5)
    #expect(reading?.media == 1)
    #expect(reading?.cacheKey == "s")
    #expect(reading?.hasMessages == true)
  }

  @Test func optionInsideAMessageIsNoOption() {
    let reading = read("{\"model\":\"m\",\"messages\":[{\"stream\":true,\"max_tokens\":5,\"include_usage\":true}]}")
    #expect(reading?.isStream == false)
    #expect(reading?.outputCap == nil)
    #expect(reading?.includesUsage == false)
  }

  @Test func inputsAreCounted() {
    #expect(read("{\"input\":[\"a\",\"b\",\"c\"]}")?.inputs == 3)
    #expect(read("{\"input\":[[1,2],[3]]}")?.tokenIDs == 3)
    #expect(read("{\"input\":[[1,2],[3]]}")?.inputs == 2)
    #expect(read("{\"input\":\"abcd\"}")?.inputTokens(ratio: 1) == 1)
    #expect(read("{\"input\":\"abcde\"}")?.inputTokens(ratio: 1) == 2)
    #expect(read("{\"input\":\"abcdabcd\"}")?.inputTokens(ratio: 1.5) == 3)
  }
}
