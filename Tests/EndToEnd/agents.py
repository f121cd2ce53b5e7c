"""The real Claude Code and the real Codex, as their wheels on PyPI carry them, and a provider that plays both of their vendors.

The agents run in a home of their own, talk to loopback only and send nothing home. What an agent is asked has a word for `Vendors`, which
then plays its model."""

import fcntl
import json
import os
import pathlib
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from dataclasses import dataclass, field

from processes import ROOT
from scripted import DATE, ScriptedProvider, chunked, reply
from waiting import wait_until

FOLDER = pathlib.Path(os.environ.get("TOLLGATE_AGENTS", ROOT / ".venv-agents"))
# Tokens after which each compacts its conversation before the next turn.
FULL = {"claude": 980_000, "codex": 190_000}
CLAUDE_MODEL, CODEX_MODEL = "claude-opus-5", "gpt-6-sol"


def installed(pattern):
    """The agent's program inside of its wheel; None where it is not installed."""
    return next(iter(sorted(FOLDER.glob("lib/python3*/site-packages/" + pattern))), None)


CLAUDE = installed("claude_agent_sdk/_bundled/claude")
CODEX = installed("codex_cli_bin/bin/codex")
PYTHON = FOLDER / "bin/python"
# The terminal's reader lies beside them; at the end of the path, so that nothing else is taken from there.
sys.path += [str(folder) for folder in FOLDER.glob("lib/python3*/site-packages")]


# What a call is, told by the text that its agent sends -----------------------------------------------------------------------------


@dataclass
class Seen:
    """One call as the vendor received it."""

    agent: str
    kind: str
    session: str
    fields: dict
    body: dict
    target: str
    connection: int
    at: float = field(default_factory=time.monotonic)
    left: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)

    @property
    def prompt(self):
        return last_words(self.body)


def texts(content):
    if isinstance(content, str):
        return [content]
    return [part["text"] for part in content or [] if isinstance(part, dict) and isinstance(part.get("text"), str)]


def last_words(body):
    """The text of what was said last, by whoever is not the model; of a tool's result alone, `tool result`."""
    messages = body.get("messages") or body.get("input") or []
    if isinstance(messages, str):
        return messages
    for message in reversed(messages):
        if "_call_output" in message.get("type", ""):
            return "tool result"
        if message.get("role") == "user":
            content = message.get("content")
            return "\n".join(texts(content)) or "tool result"
    return ""


def seen(received, connection):
    fields = {name.lower(): value for name, value in received.fields}
    body = {}
    if received.body:
        body = json.loads(received.body)
    if "x-codex-turn-metadata" in fields:
        told = json.loads(fields["x-codex-turn-metadata"])
        kind = told.get("request_kind")
        if kind == "turn":
            kind = {"thread_title": "title", "subagent": told.get("subagent_kind") or "subagent"}.get(told.get("thread_source"), "turn")
        kind = "subagent" if kind == "thread_spawn" else kind
        return Seen("codex", kind, fields.get("session-id"), fields, body, received.target, connection)
    agent = "claude" if "claude-cli" in fields.get("user-agent", "") else "other"
    kind = "other"
    if "count_tokens" in received.target:
        kind = "count"
    elif received.target.startswith("/v1/messages"):
        kind = "turn"
        if "x-claude-code-agent-id" in fields:
            kind = "subagent"
        elif not body.get("tools"):
            kind = "title"
        if "CRITICAL: Respond with TEXT ONLY" in last_words(body):
            kind = "compaction"
    return Seen(agent, kind, fields.get("x-claude-code-session-id"), fields, body, received.target, connection)


# The vendors ----------------------------------------------------------------------------------------------------------------------


class Vendors(ScriptedProvider):
    """Answers Claude Code in Anthropic's stream and Codex in that of OpenAI's Responses.

    A prompt with the word `please-spawn` is answered by the call of a subagent, `please-hold` by the beginning of a stream and then
    nothing, `please-fill` with a usage that leaves no room in the context."""

    def __init__(self):
        self.calls = []
        self.refusal = None
        self._numbers = {}
        super().__init__(self._play)

    def _play(self, received, connection):
        call = seen(received, self._numbers.setdefault(id(connection), len(self._numbers)))
        self.calls.append(call)
        if received.method != "POST":
            return reply(body=b'{"object":"list","data":[]}')
        if self.refusal:
            answer = self.refusal(call)
            if answer:
                return answer
        words = call.prompt
        usage = FULL[call.agent] if "please-fill" in words and call.kind == "turn" else 1_000
        if call.kind == "count":
            return reply(body=json.dumps({"input_tokens": 100}).encode())
        tool = None
        if call.kind == "turn" and "please-spawn" in words:
            tool = subagent_tool(call)
        text = answer_text(call)
        hold = "please-hold" in words and call.kind in ("turn", "subagent", "other")
        if call.agent == "codex":
            frames = responses_frames(text, tool, usage)
        else:
            frames = messages_frames(text, tool, usage)
        if not hold:
            return chunked(frames)
        head = f"HTTP/1.1 200 OK\r\n{DATE}\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        connection.send(head + b"%x\r\n%s\r\n" % (len(frames[0]), frames[0]))
        threading.Thread(target=self._watch, args=(call, connection), daemon=True).start()
        call.release.wait(60)
        if call.left.is_set():
            raise ScriptedProvider.Hangup
        rest = b"".join(b"%x\r\n%s\r\n" % (len(frame), frame) for frame in frames[1:])
        connection.send(rest + b"0\r\n\r\n")
        return None

    @staticmethod
    def _watch(call, connection):
        while not call.release.is_set():
            try:
                readable, _, _ = select.select([connection.socket], [], [], 0.05)
                has_left = readable and not connection.socket.recv(1, socket.MSG_PEEK)
            except (OSError, ValueError):
                has_left = True
            if has_left:
                call.left.set()
                call.release.set()

    def of(self, session, kind=None):
        return [call for call in list(self.calls) if call.session == session and kind in (None, call.kind)]

    def wait_for_prompt(self, words, timeout=30.0):
        """The first call of a conversation's own that ends with these words."""
        def asked():
            return next((call for call in list(self.calls) if words in call.prompt and call.kind in ("turn", "subagent")), None)
        return wait_until(asked, f"a call that says {words!r}; seen {self.summary()}", timeout)

    def wait_for(self, session, kind, count=1, timeout=30.0):
        """The calls of this kind in a session, once there are so many of them."""
        def enough():
            found = self.of(session, kind)
            return found if len(found) >= count else None
        return wait_until(enough, f"{count} {kind} of {session}; seen {self.summary()}", timeout)

    def wait_for_title(self, agent, words, timeout=30.0):
        """The call that asks for a title of the conversation that begins with these words."""
        def asked():
            return next((call for call in list(self.calls) if (call.agent, call.kind) == (agent, "title") and words in call.prompt), None)
        return wait_until(asked, f"a title of {words!r}; seen {self.summary()}", timeout)

    def summary(self):
        return [(call.agent, call.kind, call.prompt[-40:]) for call in list(self.calls)]


def answer_text(call):
    if call.kind == "title":
        return json.dumps({"title": "A short title", "branch": "claude/a-short-title"})
    if call.kind == "compaction":
        return "<analysis>short</analysis>\n<summary>Words were said.</summary>"
    words = re.findall(r"\bword-\w+", call.prompt)
    return f"Heard {words[-1]}." if words else "Heard nothing."


def subagent_tool(call):
    """The call of the agent's own tool that starts a subagent."""
    if call.agent == "claude":
        return "Agent", {"description": "look around", "prompt": "say word-below", "subagent_type": "general-purpose"}
    offered = list(call.body.get("tools") or [])
    for item in call.body["input"]:
        offered += item.get("tools", []) if item.get("type") == "additional_tools" else []
    inside = next((tool["name"] for tool in offered if any(part.get("name") == "spawn_agent" for part in tool.get("tools", []))), None)
    return "spawn_agent", {"message": "say word-below", "task_name": "below", "fork_turns": "none"}, inside


def event(name, **data):
    return f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n".encode()


def messages_frames(text, tool, usage):
    counted = {"input_tokens": usage, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 1}
    frames = [event("message_start", message={
        "id": "msg_1", "type": "message", "role": "assistant", "model": CLAUDE_MODEL, "content": [], "stop_reason": None,
        "stop_sequence": None, "usage": counted})]
    blocks = [({"type": "text", "text": ""}, {"type": "text_delta", "text": text})]
    if tool:
        blocks.append(({"type": "tool_use", "id": "toolu_1", "name": tool[0], "input": {}},
                       {"type": "input_json_delta", "partial_json": json.dumps(tool[1])}))
    for index, (block, delta) in enumerate(blocks):
        frames += [event("content_block_start", index=index, content_block=block),
                   event("content_block_delta", index=index, delta=delta), event("content_block_stop", index=index)]
    frames += [event("message_delta", delta={"stop_reason": "tool_use" if tool else "end_turn", "stop_sequence": None},
                     usage={"output_tokens": 12}), event("message_stop")]
    return frames


def responses_frames(text, tool, usage):
    response = {"id": "resp_1", "object": "response", "status": "in_progress", "model": CODEX_MODEL, "output": []}
    if tool:
        item = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": tool[0], "arguments": json.dumps(tool[1])}
        if len(tool) > 2 and tool[2]:
            item["namespace"] = tool[2]
    else:
        item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
                "content": [{"type": "output_text", "text": text, "annotations": []}]}
    frames = [event("response.created", response=response), event("response.output_item.added", output_index=0, item=item)]
    if not tool:
        frames.append(event("response.output_text.delta", item_id="msg_1", output_index=0, content_index=0, delta=text))
    counted = {"input_tokens": usage, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 12,
               "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": usage + 12}
    frames += [event("response.output_item.done", output_index=0, item=item),
               event("response.completed", response={**response, "status": "completed", "output": [item], "usage": counted})]
    return frames


# The agents -----------------------------------------------------------------------------------------------------------------------


class Screen:
    """A program in a terminal of its own. `pyte` keeps what the terminal shows, and what has scrolled out of it."""

    # What programs ask a terminal at their start, and wait for.
    ANSWERS = (("\x1b[6n", "\x1b[1;1R"), ("\x1b[c", "\x1b[?1;2c"), ("\x1b]10;?", "\x1b]10;rgb:ffff/ffff/ffff\x1b\\"),
               ("\x1b]11;?", "\x1b]11;rgb:0000/0000/0000\x1b\\"), ("\x1b[?u", "\x1b[?0u"))
    COLUMNS, LINES = 160, 50
    # Both agents say how to interrupt them while they work.
    IS_BUSY = re.compile("esc to interrupt")

    def __init__(self, arguments, env, cwd):
        import pyte
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", self.LINES, self.COLUMNS, 0, 0))
        self._screen = pyte.HistoryScreen(self.COLUMNS, self.LINES, history=2000, ratio=0.5)
        self._screen.report_device_status = lambda *_, **__: None
        self._stream = pyte.ByteStream(self._screen)
        self._lock = threading.Lock()
        self.process = subprocess.Popen(arguments, stdin=slave, stdout=slave, stderr=slave, env=env, cwd=cwd, start_new_session=True)
        os.close(slave)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        while True:
            try:
                data = os.read(self.master, 65536)
            except OSError:
                return
            if not data:
                return
            for asked, answer in self.ANSWERS:
                for _ in range(data.count(asked.encode())):
                    self.type(answer)
            # Sequences that `pyte` does not know and would show as text.
            data = re.sub(rb"\x1b\[[<>=][0-9;]*[a-zA-Z]|\x1b\[\?[0-9;]*u", b"", data)
            with self._lock:
                self._stream.feed(data)

    @property
    def text(self):
        with self._lock:
            gone = ["".join(line[column].data for column in sorted(line)) for line in self._screen.history.top]
            return "\n".join(line.rstrip() for line in [*gone, *self._screen.display])

    @property
    def display(self):
        """What is seen now, without what has scrolled away."""
        with self._lock:
            return "\n".join(line.rstrip() for line in self._screen.display)

    def wait_until_busy(self, timeout=30.0):
        wait_until(lambda: self.IS_BUSY.search(self.display), "the agent to work", timeout)

    def wait_until_idle(self, timeout=30.0):
        wait_until(lambda: not self.IS_BUSY.search(self.display), "the agent to be done", timeout)

    def type(self, text):
        try:
            os.write(self.master, text.encode())
        except OSError:
            pass

    def wait_for(self, pattern, timeout=30.0):
        """Waits until the terminal shows text like this."""
        wanted = re.compile(pattern)
        try:
            return wait_until(lambda: wanted.search(self.text), f"/{pattern}/ on the screen", timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.text}") from None

    def say(self, text):
        """Types a line, and enters it once it is shown: a line that is pasted at once would not be entered by its end. What an interrupted
        prompt has left in the input is removed (Ctrl-U)."""
        self.type("\x15")
        self.type(text)
        self.wait_for(re.escape(text))
        self.type("\r")

    def stop(self):
        stop(self.process)
        try:
            os.close(self.master)
        except OSError:
            pass


def stop(process):
    """Ends a process and the group that it leads, which holds nothing else."""
    if process.poll() is None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, number)
                process.wait(3)
                break
            except subprocess.TimeoutExpired:
                continue
            except ProcessLookupError:
                break
    return process.wait(5)


def stop_within(folder):
    """Ends what was started from a folder below and went on by itself: Codex leaves a server behind in its home."""
    def there():
        found = []
        for entry in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            try:
                program = entry.read_bytes().split(b"\0")[0].decode()
            except (OSError, UnicodeDecodeError):
                continue
            if program.startswith(f"{folder}/"):
                found.append(int(entry.parent.name))
        return found

    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in there():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass
        try:
            return wait_until(lambda: not there(), f"what was started from {folder} to end", 3)
        except AssertionError:
            continue


class Home:
    """A home folder with both agents' settings, and a project that they trust."""

    def __init__(self, folder, url, key="any", hints=False):
        self.folder = pathlib.Path(folder)
        self.project = self.folder / "project"
        self.project.mkdir(parents=True)
        subprocess.run(["git", "init", "-q", str(self.project)], check=True, env={"PATH": os.environ["PATH"], "HOME": str(folder)})
        self.url, self.key, self.hints = url, key, hints
        claude = self.folder / ".claude"
        claude.mkdir()
        (claude / ".claude.json").write_text(json.dumps({
            "hasCompletedOnboarding": True, "theme": "dark", "numStartups": 5, "autoUpdates": False, "bypassPermissionsModeAccepted": True,
            "projects": {str(self.project): {"hasTrustDialogAccepted": True, "hasCompletedProjectOnboarding": True,
                                             "projectOnboardingSeenCount": 5}}}))
        (claude / "settings.json").write_text(json.dumps({"permissions": {"defaultMode": "acceptEdits", "allow": ["Agent", "Task", "Read"]}}))
        codex = self.folder / ".codex"
        codex.mkdir()
        # Known to Codex; nothing of it says where the vendor is.
        self.codex_quiet = f'''model = "{CODEX_MODEL}"
model_context_window = 272000
model_auto_compact_token_limit = 150000
approval_policy = "never"
sandbox_mode = "read-only"
check_for_update_on_startup = false
analytics.enabled = false
feedback.enabled = false
projects."{self.project}".trust_level = "trusted"
'''
        (codex / "config.toml").write_text(self.codex_quiet + f'''model_provider = "tollgate"
[model_providers.tollgate]
name = "tollgate"
base_url = "{url}/v1"
env_key = "TOLLGATE_CLIENT_KEY"
wire_api = "responses"
''')

    def env(self, **more):
        values = {
            "PATH": os.environ["PATH"], "HOME": str(self.folder), "TERM": "xterm-256color", "LANG": "C.UTF-8", "SHELL": "/bin/sh",
            "NO_PROXY": "127.0.0.1,localhost", "CLAUDE_CONFIG_DIR": str(self.folder / ".claude"), "CODEX_HOME": str(self.folder / ".codex"),
            "ANTHROPIC_BASE_URL": self.url, "ANTHROPIC_AUTH_TOKEN": self.key, "ANTHROPIC_MODEL": CLAUDE_MODEL,
            "DISABLE_TELEMETRY": "1", "DISABLE_AUTOUPDATER": "1",
            "DISABLE_ERROR_REPORTING": "1", "TOLLGATE_CLIENT_KEY": self.key, "OTEL_SDK_DISABLED": "true",
            # Where anything else should be called, it finds nothing there.
            "HTTPS_PROXY": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9",
        }
        if self.hints:
            values["CLAUDE_CODE_GATEWAY_HINT_HEADERS"] = "1"
        values.update(more)
        return values

    def claude(self, *arguments, **more):
        return Screen([str(CLAUDE), *arguments], self.env(**more), self.project)

    def codex(self, *arguments, **more):
        return Screen([str(CODEX), *arguments], self.env(**more), self.project)

    def headless(self, *arguments, **more):
        """A run without a terminal: `CLAUDE, "-p", ..` or `CODEX, "exec", ..`."""
        return subprocess.Popen(
            [str(part) for part in arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=self.env(**more), cwd=self.project, start_new_session=True)
