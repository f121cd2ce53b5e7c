// Model lists: what we write is what we and the SDKs read.
import Testing

@testable import ProviderWire

@Suite struct ModelListTests {
  private let entries = [
    ModelList.Entry(id: "gpt-6", owner: "openai"), .init(id: "a\"b", owner: "x"), .init(id: "gpt-6", owner: "other"),
  ]

  @Test func writesEachShape() {
    #expect(
      String(decoding: ModelList.body([entries[0]], form: .openai), as: UTF8.self)
        == #"{"object":"list","data":[{"id":"gpt-6","object":"model","created":0,"owned_by":"openai"}]}"#)
    #expect(
      String(decoding: ModelList.body([], form: .anthropic), as: UTF8.self)
        == #"{"data":[],"has_more":false,"first_id":null,"last_id":null}"#)
    #expect(
      String(decoding: ModelList.body([entries[0]], form: .ollama), as: UTF8.self)
        == #"{"models":[{"name":"gpt-6","model":"gpt-6","modified_at":"1970-01-01T00:00:00Z","size":0,"digest":""}]}"#)
    #expect(
      String(decoding: ModelList.body([entries[0]], form: .gemini), as: UTF8.self)
        == #"{"models":[{"name":"models/gpt-6","displayName":"gpt-6"}]}"#)
    #expect(
      String(decoding: ModelList.body([entries[0]], form: .cohere), as: UTF8.self) == #"{"models":[{"name":"gpt-6"}]}"#)
    #expect(
      String(decoding: ModelList.body([entries[0]], form: .mistral), as: UTF8.self)
        == #"{"object":"list","data":[{"id":"gpt-6","object":"model","created":0,"owned_by":"openai","type":"base","capabilities":{}}]}"#
    )
  }

  @Test(arguments: ModelList.Form.allCases)
  func readsWhatItWritesEachIdOnce(_ form: ModelList.Form) {
    #expect(ModelList.ids(in: ModelList.body(entries, form: form)) == ["gpt-6", "a\"b"])
  }

  @Test(
    arguments: [
      (#"{"models":[{"name":"command-a","endpoints":["chat"]}]}"#, ["command-a"]),
      (
        #"{"object":"list","data":[{"id":"m","name":"A name","permission":[{"id":"p"}]}],"models":[{"name":"x"}]}"#,
        ["m"]
      ),
      (#"{"data":[]}"#, []), (#"{"warnings":[{"id":"w"}],"data":[{"id":"m"}]}"#, ["m"]),
      (#"{"error":{"message":"x"}}"#, nil), ("[]", []),
      (#"[{"id":"a","type":"chat","config":{"id":"c"}},{"id":"b"}]"#, ["a", "b"]),
      (#"["a","b"]"#, ["a", "b"]), (#"{"data":["a",{"id":"b","tags":["t"]}]}"#, ["a", "b"]), (#""a""#, nil),
      (#"[{"id":"a"}"#, nil), ("{", nil), ("", nil),
    ] as [(String, [String]?)])
  func readsVendorsLists(_ body: String, _ ids: [String]?) {
    #expect(ModelList.ids(in: Array(body.utf8)) == ids)
  }
}
