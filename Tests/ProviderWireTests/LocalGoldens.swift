// Golden answers of local servers, and of vendors of embeddings and reranking.

extension UsageTapTests {
  static let localGoldens: [Golden] = [
    Golden(
      name: "Ollama chat", endpoint: .ollamaChat, contentType: json,
      body:
        #"{"model":"m","message":{"role":"assistant","content":"hi"},"done":true,"done_reason":"stop","total_duration":5,"prompt_eval_count":11,"eval_count":3}"#,
      usage: usage(11, 3), isTerminal: true),
    Golden(
      name: "Ollama generate lines", endpoint: .ollamaGenerate, contentType: "application/x-ndjson",
      body:
        "{\"model\":\"m\",\"response\":\"a\",\"done\":false}\n{\"response\":\"\",\"done\":true,\"prompt_eval_count\":7,\"eval_count\":2}\n",
      usage: usage(7, 2), isTerminal: true),
    Golden(
      name: "Ollama embed", endpoint: .ollamaEmbed, contentType: json,
      body: #"{"model":"m","embeddings":[[0.1,2]],"total_duration":14143917,"prompt_eval_count":8}"#, usage: usage(8, 0)
    ),
    Golden(
      name: "Cohere rerank, floats", endpoint: .rerank, contentType: json,
      body: #"{"results":[{"index":0,"relevance_score":0.9}],"meta":{"billed_units":{"search_units":1.0}}}"#,
      usage: usage(0, 0)),
    Golden(
      name: "Voyage and Jina rerank", endpoint: .rerank, contentType: json,
      body:
        #"{"object":"list","data":[{"index":0,"relevance_score":0.4}],"model":"rerank-2.5","usage":{"total_tokens":26}}"#,
      usage: usage(26, 0)),
  ]
}
