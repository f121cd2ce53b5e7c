"""The vendors' own SDKs for the comparison of SDKs, each with the same few methods.

An SDK is imported where it is used: each runs in a process of its own."""

import asyncio

KEY = "client-key-000000000001"
PROMPT = "Hello"


def said(text, usage=None, finish=None):
    """A good answer; `usage` is (input, output)."""
    return {"text": text, "usage": list(usage) if usage else None, "finish": str(finish) if finish is not None else None}


class Client:
    """`plain(model)`, `stream(model)` and what else the SDK has; `leave(model)` begins to read a stream and goes away."""

    # How many cases may run side by side.
    at_once = 100

    def __init__(self, base, timeout):
        self.base, self.timeout = base, timeout

    def leave(self, model):
        pieces = self.pieces(model)
        first = next(piece for piece in pieces if piece)
        pieces.close()
        return {"first": first}


class OpenAI(Client):
    """The OpenAI SDK's Chat Completions."""

    path = "/v1"

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.sdk = self.make()

    def make(self):
        import openai
        return openai.OpenAI(base_url=self.base + self.path, api_key=KEY, timeout=self.timeout)

    def plain(self, model):
        answer = self.sdk.chat.completions.create(model=model, messages=[{"role": "user", "content": PROMPT}])
        return said(answer.choices[0].message.content, (answer.usage.prompt_tokens, answer.usage.completion_tokens), answer.choices[0].finish_reason)

    usage_wish = {"stream_options": {"include_usage": True}}

    def _chunks(self, model, **wish):
        return self.sdk.chat.completions.create(model=model, messages=[{"role": "user", "content": PROMPT}], stream=True, **wish)

    def stream(self, model):
        text, usage, finish = "", None, None
        for chunk in self._chunks(model, **self.usage_wish):
            for choice in chunk.choices:
                text += choice.delta.content or ""
                finish = choice.finish_reason or finish
            if getattr(chunk, "usage", None):
                usage = (chunk.usage.prompt_tokens, chunk.usage.completion_tokens)
        return said(text, usage, finish)

    def bare_stream(self, model):
        """Without the wish for usage: how many chunks, and whether one has it."""
        chunks = list(self._chunks(model))
        return {"chunks": len(chunks), "usage": any(getattr(chunk, "usage", None) for chunk in chunks)}

    def pieces(self, model):
        with self._chunks(model) as chunks:
            for chunk in chunks:
                yield from (choice.delta.content for choice in chunk.choices)

    def embed(self, model):
        answer = self.sdk.embeddings.create(model=model, input=["a", "b"], encoding_format="float")
        return said([row.embedding for row in answer.data], (answer.usage.prompt_tokens, 0))

    def models(self, model):
        return {"models": sorted(each.id for each in self.sdk.models.list())}


class OpenAIResponses(OpenAI):
    """The OpenAI SDK's Responses."""

    def plain(self, model):
        answer = self.sdk.responses.create(model=model, input=PROMPT)
        return said(answer.output_text, (answer.usage.input_tokens, answer.usage.output_tokens), answer.status)

    def stream(self, model):
        with self.sdk.responses.stream(model=model, input=PROMPT) as events:
            answer = events.until_done().get_final_response()
        return said(answer.output_text, (answer.usage.input_tokens, answer.usage.output_tokens), answer.status)

    def pieces(self, model):
        with self.sdk.responses.create(model=model, input=PROMPT, stream=True) as events:
            for event in events:
                if event.type == "response.output_text.delta":
                    yield event.delta


class OpenAIAsync(OpenAI):
    """The OpenAI SDK's asynchronous client; each call in a loop of its own."""

    def make(self):
        return None

    def _run(self, work):
        import openai

        async def with_client():
            async with openai.AsyncOpenAI(base_url=self.base + self.path, api_key=KEY, timeout=self.timeout) as client:
                return await work(client)
        return asyncio.run(with_client())

    def plain(self, model):
        async def ask(client):
            answer = await client.chat.completions.create(model=model, messages=[{"role": "user", "content": PROMPT}])
            return said(answer.choices[0].message.content, (answer.usage.prompt_tokens, answer.usage.completion_tokens))
        return self._run(ask)

    def stream(self, model):
        async def ask(client):
            chunks = await client.chat.completions.create(model=model, messages=[{"role": "user", "content": PROMPT}], stream=True)
            return said("".join([choice.delta.content or "" async for chunk in chunks for choice in chunk.choices]))
        return self._run(ask)

    def leave(self, model):
        async def ask(client):
            async with await client.chat.completions.create(model=model, messages=[{"role": "user", "content": PROMPT}], stream=True) as chunks:
                async for chunk in chunks:
                    if chunk.choices and chunk.choices[0].delta.content:
                        return {"first": chunk.choices[0].delta.content}
        return self._run(ask)


class Azure(OpenAI):
    """The OpenAI SDK for Azure's deployments."""

    def make(self):
        import openai
        return openai.AzureOpenAI(azure_endpoint=self.base, api_key=KEY, api_version="2026-01-01", timeout=self.timeout)


class Groq(OpenAI):
    """Groq's SDK, which adds `/openai/v1` by itself and cannot ask for usage in streams."""

    usage_wish = {}

    def make(self):
        import groq
        return groq.Groq(base_url=self.base, api_key=KEY, timeout=self.timeout)

    def models(self, model):
        return {"models": sorted(each.id for each in self.sdk.models.list().data)}


class Anthropic(Client):
    """The Anthropic SDK."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        import anthropic
        self.sdk = anthropic.Anthropic(base_url=self.base, api_key=KEY, timeout=self.timeout)
        self.ask = {"max_tokens": 64, "messages": [{"role": "user", "content": PROMPT}]}

    def plain(self, model):
        answer = self.sdk.messages.create(model=model, **self.ask)
        return said(answer.content[0].text, (answer.usage.input_tokens, answer.usage.output_tokens), answer.stop_reason)

    def stream(self, model):
        with self.sdk.messages.stream(model=model, **self.ask) as stream:
            answer = stream.get_final_message()
        return said(answer.content[0].text, (answer.usage.input_tokens, answer.usage.output_tokens), answer.stop_reason)

    def pieces(self, model):
        with self.sdk.messages.stream(model=model, **self.ask) as stream:
            yield from stream.text_stream

    def count(self, model):
        return {"count": self.sdk.messages.count_tokens(model=model, messages=self.ask["messages"]).input_tokens}

    def models(self, model):
        return {"models": sorted(each.id for each in self.sdk.models.list())}


class Gemini(Client):
    """Google's SDK with an API key."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        from google import genai
        self.sdk = genai.Client(api_key=KEY, http_options={"base_url": self.base, "timeout": int(self.timeout * 1000)})

    @staticmethod
    def _usage(answer):
        return (answer.usage_metadata.prompt_token_count, answer.usage_metadata.candidates_token_count)

    def plain(self, model):
        answer = self.sdk.models.generate_content(model=model, contents=PROMPT)
        return said(answer.text, self._usage(answer), answer.candidates[0].finish_reason)

    def stream(self, model):
        parts = list(self.sdk.models.generate_content_stream(model=model, contents=PROMPT))
        return said("".join(part.text for part in parts), self._usage(parts[-1]), parts[-1].candidates[0].finish_reason)

    def pieces(self, model):
        for part in self.sdk.models.generate_content_stream(model=model, contents=PROMPT):
            yield part.text

    def count(self, model):
        return {"count": self.sdk.models.count_tokens(model=model, contents=PROMPT).total_tokens}

    def embed(self, model):
        answer = self.sdk.models.embed_content(model=model, contents=["a", "b"])
        return said([row.values for row in answer.embeddings])

    def models(self, model):
        return {"models": sorted(each.name for each in self.sdk.models.list())}


class Cohere(Client):
    """Cohere's SDK, second version."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        import cohere
        self.sdk = cohere.ClientV2(api_key=KEY, base_url=self.base, timeout=self.timeout)
        self.ask = {"messages": [{"role": "user", "content": PROMPT}]}

    @staticmethod
    def _usage(usage):
        return (usage.billed_units.input_tokens, usage.billed_units.output_tokens)

    def plain(self, model):
        answer = self.sdk.chat(model=model, **self.ask)
        return said(answer.message.content[0].text, self._usage(answer.usage), answer.finish_reason)

    def stream(self, model):
        text, usage, finish = "", None, None
        for event in self.sdk.chat_stream(model=model, **self.ask):
            if event.type == "content-delta":
                text += event.delta.message.content.text
            elif event.type == "message-end":
                usage, finish = event.delta.usage and self._usage(event.delta.usage), event.delta.finish_reason
        return said(text, usage, finish)

    def pieces(self, model):
        for event in self.sdk.chat_stream(model=model, **self.ask):
            if event.type == "content-delta":
                yield event.delta.message.content.text

    def embed(self, model):
        answer = self.sdk.embed(model=model, texts=["a", "b"], input_type="search_query", embedding_types=["float"])
        return said(answer.embeddings.float_, (answer.meta.billed_units.input_tokens, 0))

    def rerank(self, model):
        return {"order": [row.index for row in self.sdk.rerank(model=model, query="a", documents=["b"]).results]}

    def models(self, model):
        return {"models": sorted(each.name for each in self.sdk.models.list().models)}


class Mistral(Client):
    """Mistral's SDK."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        from mistralai.client import Mistral as SDK
        self.sdk = SDK(server_url=self.base, api_key=KEY, timeout_ms=int(self.timeout * 1000))
        self.ask = {"messages": [{"role": "user", "content": PROMPT}]}

    def plain(self, model):
        answer = self.sdk.chat.complete(model=model, **self.ask)
        return said(answer.choices[0].message.content, (answer.usage.prompt_tokens, answer.usage.completion_tokens), answer.choices[0].finish_reason)

    def stream(self, model):
        text, usage, finish = "", None, None
        for event in self.sdk.chat.stream(model=model, **self.ask):
            for choice in event.data.choices:
                text += choice.delta.content or ""
                finish = choice.finish_reason or finish
            if event.data.usage:
                usage = (event.data.usage.prompt_tokens, event.data.usage.completion_tokens)
        return said(text, usage, finish)

    def pieces(self, model):
        with self.sdk.chat.stream(model=model, **self.ask) as events:
            for event in events:
                yield from (choice.delta.content for choice in event.data.choices)

    def embed(self, model):
        answer = self.sdk.embeddings.create(model=model, inputs=["a", "b"])
        return said([row.embedding for row in answer.data], (answer.usage.prompt_tokens, 0))

    def models(self, model):
        return {"models": sorted(each.id for each in self.sdk.models.list().data)}


class Ollama(Client):
    """Ollama's SDK."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        import ollama
        self.sdk = ollama.Client(host=self.base, timeout=self.timeout)
        self.ask = {"messages": [{"role": "user", "content": PROMPT}]}

    def plain(self, model):
        answer = self.sdk.chat(model=model, **self.ask)
        return said(answer.message.content, (answer.prompt_eval_count, answer.eval_count), answer.done_reason)

    def stream(self, model):
        parts = list(self.sdk.chat(model=model, **self.ask, stream=True))
        return said("".join(part.message.content for part in parts), (parts[-1].prompt_eval_count, parts[-1].eval_count), parts[-1].done_reason)

    def pieces(self, model):
        for part in self.sdk.chat(model=model, **self.ask, stream=True):
            yield part.message.content

    def generate(self, model):
        return said(self.sdk.generate(model=model, prompt=PROMPT).response)

    def embed(self, model):
        answer = self.sdk.embed(model=model, input=["a", "b"])
        return said([list(row) for row in answer.embeddings], (answer.prompt_eval_count, 0))

    def models(self, model):
        return {"models": sorted(each.model for each in self.sdk.list().models)}
