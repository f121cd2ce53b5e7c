"""Asks through the broker with both SDKs. The base URLs come from OPENAI_BASE_URL and ANTHROPIC_BASE_URL."""

import asyncio
import os

import anthropic
import openai

OPENAI_MODEL = os.environ.get("OPENAI_MODEL", "gpt-5-mini")
ANTHROPIC_MODEL = os.environ.get("ANTHROPIC_MODEL", "claude-haiku-4-5")
QUESTION = [{"role": "user", "content": "Why do queues form at toll gates?"}]


def steer():
    """A user waits for this one."""
    client = openai.OpenAI(default_headers={"x-tollgate-kind": "steer", "x-tollgate-session": "user-1"})
    raw = client.chat.completions.with_raw_response.create(model=OPENAI_MODEL, messages=QUESTION)
    print(f"steer ({raw.headers['x-tollgate-priority']}, waited {raw.headers['x-tollgate-queue-ms']} ms):",
          raw.parse().choices[0].message.content)


async def background():
    """Nobody waits for these; they share one session and so one place in the order of fairness."""
    client = openai.AsyncOpenAI(default_headers={"x-tollgate-priority": "low", "x-tollgate-session": "nightly-report"})
    answers = await asyncio.gather(*[client.responses.create(model=OPENAI_MODEL, input=f"Part {n}") for n in range(8)])
    print("background:", len(answers), "answers,", sum(answer.usage.output_tokens for answer in answers), "tokens")


def stream():
    """A stream in Anthropic's dialect."""
    client = anthropic.Anthropic()
    with client.messages.stream(model=ANTHROPIC_MODEL, max_tokens=200, messages=QUESTION) as events:
        print("stream:", "".join(events.text_stream))


if __name__ == "__main__":
    steer()
    asyncio.run(background())
    stream()
