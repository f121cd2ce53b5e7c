"""Frameworks and agents that call the vendors through SDKs, for the comparison of SDKs; and the names of all that are compared."""

import asyncio
import re

import sdkclients
from sdkclients import KEY, PROMPT, Client, said
from sdkvendor import SENTENCE


class LangChain(Client):
    """LangChain's chat models."""

    def plain(self, model):
        return self._said(self.make(model).invoke(PROMPT))

    def stream(self, model):
        whole = None
        for part in self.make(model).stream(PROMPT):
            whole = part if whole is None else whole + part
        return self._said(whole)

    def pieces(self, model):
        for part in self.make(model).stream(PROMPT):
            yield part.text if isinstance(part.text, str) else part.text()

    @staticmethod
    def _said(answer):
        usage = answer.usage_metadata and (answer.usage_metadata["input_tokens"], answer.usage_metadata["output_tokens"])
        finish = answer.response_metadata.get("finish_reason") or answer.response_metadata.get("stop_reason")
        return said(str(answer.text), usage, finish)


class LangChainOpenAI(LangChain):
    def make(self, model):
        from langchain_openai import ChatOpenAI
        return ChatOpenAI(base_url=self.base + "/v1", api_key=KEY, model=model, timeout=self.timeout)

    def embed(self, model):
        from langchain_openai import OpenAIEmbeddings
        # Its own count of tokens would fetch a vocabulary.
        sdk = OpenAIEmbeddings(base_url=self.base + "/v1", api_key=KEY, model=model, check_embedding_ctx_length=False)
        return said(sdk.embed_documents(["a", "b"]))


class LangChainAnthropic(LangChain):
    def make(self, model):
        from langchain_anthropic import ChatAnthropic
        return ChatAnthropic(base_url=self.base, api_key=KEY, model=model, timeout=self.timeout, max_tokens=64)


class OpenAIAgents(Client):
    """The OpenAI Agents SDK over Responses, as it does by itself."""

    model_class = "OpenAIResponsesModel"

    def _run(self, model, work):
        import agents
        import openai

        async def with_client():
            async with openai.AsyncOpenAI(base_url=self.base + "/v1", api_key=KEY, timeout=self.timeout) as client:
                return await work(agents.Agent(name="a", model=getattr(agents, self.model_class)(model=model, openai_client=client)))
        return asyncio.run(with_client())

    @staticmethod
    def _said(result):
        usage = result.context_wrapper.usage
        return said(result.final_output, (usage.input_tokens, usage.output_tokens))

    def plain(self, model):
        import agents

        async def ask(agent):
            return self._said(await agents.Runner.run(agent, PROMPT))
        return self._run(model, ask)

    def stream(self, model):
        import agents

        async def ask(agent):
            result = agents.Runner.run_streamed(agent, PROMPT)
            async for _ in result.stream_events():
                pass
            return self._said(result)
        return self._run(model, ask)

    def leave(self, model):
        import agents

        async def ask(agent):
            result = agents.Runner.run_streamed(agent, PROMPT)
            async for event in result.stream_events():
                if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
                    result.cancel()
                    return {"first": event.data.delta}
        return self._run(model, ask)


class OpenAIAgentsChat(OpenAIAgents):
    """The same over Chat Completions."""

    model_class = "OpenAIChatCompletionsModel"


class PydanticAI(Client):
    """pydantic-ai over Chat Completions."""

    def model(self, name, client):
        from pydantic_ai.models.openai import OpenAIChatModel
        return OpenAIChatModel(name, provider=self.provider(client))

    @staticmethod
    def provider(client):
        from pydantic_ai.providers.openai import OpenAIProvider
        return OpenAIProvider(openai_client=client)

    def client(self):
        import openai
        return openai.AsyncOpenAI(base_url=self.base + "/v1", api_key=KEY, timeout=self.timeout)

    def _run(self, model, work):
        from pydantic_ai import Agent

        async def with_client():
            async with self.client() as client:
                return await work(Agent(self.model(model, client)))
        return asyncio.run(with_client())

    @staticmethod
    def _said(text, usage):
        usage = usage() if callable(usage) else usage
        return said(text, (usage.input_tokens, usage.output_tokens))

    def plain(self, model):
        async def ask(agent):
            result = await agent.run(PROMPT)
            return self._said(result.output, result.usage)
        return self._run(model, ask)

    def stream(self, model):
        async def ask(agent):
            async with agent.run_stream(PROMPT) as result:
                text = "".join([part async for part in result.stream_text(delta=True, debounce_by=None)])
                return self._said(text, result.usage)
        return self._run(model, ask)

    def leave(self, model):
        async def ask(agent):
            async with agent.run_stream(PROMPT) as result:
                async for part in result.stream_text(delta=True, debounce_by=None):
                    return {"first": part}
        return self._run(model, ask)


class PydanticAIResponses(PydanticAI):
    """The same over Responses."""

    def model(self, name, client):
        from pydantic_ai.models.openai import OpenAIResponsesModel
        return OpenAIResponsesModel(name, provider=self.provider(client))


class PydanticAIAnthropic(PydanticAI):
    """The same over Anthropic's Messages."""

    def client(self):
        import anthropic
        return anthropic.AsyncAnthropic(base_url=self.base, api_key=KEY, timeout=self.timeout)

    def model(self, name, client):
        from pydantic_ai.models.anthropic import AnthropicModel
        from pydantic_ai.providers.anthropic import AnthropicProvider
        return AnthropicModel(name, provider=AnthropicProvider(anthropic_client=client))


class Smolagents(Client):
    """smolagents' model for OpenAI-compatible servers."""

    ask = [{"role": "user", "content": [{"type": "text", "text": PROMPT}]}]

    def make(self, model):
        import smolagents.models
        # It waits a minute before it repeats a refused call, beside the OpenAI SDK's own repeating.
        smolagents.models.RETRY_WAIT, smolagents.models.RETRY_MAX_ATTEMPTS = 0.1, 2
        return smolagents.models.OpenAIModel(model, api_base=self.base + "/v1", api_key=KEY, client_kwargs={"timeout": self.timeout})

    def plain(self, model):
        answer = self.make(model).generate(self.ask)
        return said(answer.content, (answer.token_usage.input_tokens, answer.token_usage.output_tokens))

    def stream(self, model):
        parts = list(self.make(model).generate_stream(self.ask))
        usage = next((part.token_usage for part in reversed(parts) if part.token_usage), None)
        return said("".join(part.content or "" for part in parts), usage and (usage.input_tokens, usage.output_tokens))

    def pieces(self, model):
        for part in self.make(model).generate_stream(self.ask):
            yield part.content


class LLM(Client):
    """The library behind the command `llm`."""

    def _ask(self, model, stream):
        from llm.default_plugins.openai_models import Chat
        return Chat(model, model_name=model, api_base=self.base + "/v1").prompt(PROMPT, key=KEY, stream=stream)

    def _said(self, answer):
        text = answer.text()
        usage = answer.usage()
        return said(text, (usage.input, usage.output))

    def plain(self, model):
        return self._said(self._ask(model, False))

    def stream(self, model):
        return self._said(self._ask(model, True))

    def pieces(self, model):
        yield from self._ask(model, True)


class LiteLLM(Client):
    """LiteLLM's `completion`, by its name for the vendor."""

    def __init__(self, vendor, path, *arguments):
        super().__init__(*arguments)
        self.vendor, self.path = vendor, path

    def _ask(self, model, **more):
        import litellm
        options = {"api_version": "2026-01-01"} if self.vendor == "azure" else {}
        return litellm.completion(
            model=f"{self.vendor}/{model}", api_base=self.base + self.path, api_key=KEY, timeout=self.timeout,
            messages=[{"role": "user", "content": PROMPT}], **options, **more)

    def plain(self, model):
        answer = self._ask(model)
        return said(answer.choices[0].message.content, (answer.usage.prompt_tokens, answer.usage.completion_tokens), answer.choices[0].finish_reason)

    def stream(self, model):
        text, finish = "", None
        for chunk in self._ask(model, stream=True):
            text += chunk.choices[0].delta.content or ""
            finish = chunk.choices[0].finish_reason or finish
        return said(text, None, finish)


class MiniSWEAgent(Client):
    """mini-swe-agent's model."""

    def plain(self, model):
        from minisweagent.exceptions import FormatError
        from minisweagent.models.litellm_textbased_model import LitellmTextbasedModel
        sdk = LitellmTextbasedModel(
            model_name="openai/" + model, cost_tracking="ignore_errors",
            model_kwargs={"api_base": self.base + "/v1", "api_key": KEY, "timeout": self.timeout})
        try:
            return sdk.query([{"role": "user", "content": PROMPT}])
        except FormatError as asked_for_a_command:
            answer = asked_for_a_command.messages[0]["extra"]["response"]
            return said(answer["choices"][0]["message"]["content"], (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]))


class ClaudeAgent(Client):
    """The Claude Agent SDK, which runs Claude Code for each question; errors are results."""

    at_once = 4

    def plain(self, model):
        import claude_agent_sdk as sdk

        env = {"ANTHROPIC_BASE_URL": self.base, "ANTHROPIC_AUTH_TOKEN": KEY, "ANTHROPIC_DEFAULT_HAIKU_MODEL": model,
               "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1", "HTTPS_PROXY": "http://127.0.0.1:9",
               "NO_PROXY": "127.0.0.1"}

        async def ask():
            ended = None
            try:
                async for message in sdk.query(prompt=PROMPT, options=sdk.ClaudeAgentOptions(model=model, env=env, max_turns=1)):
                    ended = message if isinstance(message, sdk.ResultMessage) else ended
            except Exception:
                # It raises once more what a result has told.
                if ended is None:
                    raise
            return ended
        ended = asyncio.run(ask())
        if not ended.is_error:
            return said(ended.result, (ended.usage["input_tokens"], ended.usage["output_tokens"]), ended.subtype)
        status = re.search(r"API Error: (\d+)|\((\d+)\)", ended.result)
        return {"error": "result", "status": status and int(status[1] or status[2]), "vendors words": SENTENCE in ended.result}


def litellm(vendor, path=""):
    return lambda *arguments: LiteLLM(vendor, path, *arguments)


CLIENTS = {
    "openai": sdkclients.OpenAI, "openai-responses": sdkclients.OpenAIResponses, "openai-async": sdkclients.OpenAIAsync,
    "azure": sdkclients.Azure, "groq": sdkclients.Groq, "anthropic": sdkclients.Anthropic, "gemini": sdkclients.Gemini,
    "cohere": sdkclients.Cohere, "mistral": sdkclients.Mistral, "ollama": sdkclients.Ollama, "langchain-openai": LangChainOpenAI,
    "langchain-anthropic": LangChainAnthropic, "openai-agents": OpenAIAgents, "openai-agents-chat": OpenAIAgentsChat,
    "pydantic-ai": PydanticAI, "pydantic-ai-responses": PydanticAIResponses, "pydantic-ai-anthropic": PydanticAIAnthropic,
    "smolagents": Smolagents, "llm": LLM, "litellm-openai": litellm("openai", "/v1"), "litellm-anthropic": litellm("anthropic"),
    "litellm-gemini": litellm("gemini", "/v1beta"), "litellm-azure": litellm("azure"), "litellm-mistral": litellm("mistral", "/v1"),
    "mini-swe-agent": MiniSWEAgent, "claude-agent-sdk": ClaudeAgent,
}
