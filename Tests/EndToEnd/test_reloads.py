"""Reloads under calls that wait: address and secret that go out are of one policy."""

import threading

from fleet import chat
from processes import NO_RESERVE, policy_for, write_policy
from rawhttp import Connection, address_of, request_bytes
from scripted import reply
from waiting import wait_until

JSON = [("Content-Type", "application/json")]
ANSWER = b'{"choices":[]}'


class Setting:
    """A provider that holds its first call, four calls that wait for it, and a second provider that nobody knows yet."""

    def __init__(self, start, http):
        self.http = http
        self.go = threading.Event()
        self.old = start.provider(lambda received, connection: (self.go.wait(20), reply(body=ANSWER))[1])
        self.new = start.provider(reply(body=ANSWER))
        self.broker = start.broker(self.policy(self.old.url, "sk-old-secret"))
        self.calls = [self.call(0)]
        wait_until(lambda: len(self.old.received) == 1, "a call at the provider")
        self.calls += [self.call(number) for number in range(1, 5)]
        wait_until(lambda: self.queued() == 4, "four that wait")

    @staticmethod
    def policy(url, secret, name="p"):
        policy = policy_for(url, limits={"concurrency": 1}, priorities=NO_RESERVE)
        provider = policy["providers"]["openai"] | {"keys": [{"id": "main", "secret": secret}]}
        return policy | {"providers": {name: provider}, "routes": [{"models": ["*"], "to": [name]}]}

    def call(self, number):
        connection = Connection(address_of(self.broker.url))
        connection.send(request_bytes("POST", "/v1/chat/completions", [*JSON, ("x-tollgate-session", str(number))], chat()))
        return connection

    def queued(self):
        providers = self.http.get(self.broker.admin + "/api/v1/status").json()["providers"]
        return sum(sum(entry["queued"].values()) for entry in providers)

    def reload(self, policy):
        write_policy(self.broker.policy_file.parent, policy)
        answer = self.http.post(self.broker.admin + "/api/v1/reload")
        assert answer.status_code == 200, answer.text
        self.go.set()

    def check(self):
        for connection in self.calls:
            answer = connection.answer()
            assert (answer.status, answer.body) == (200, ANSWER)
        assert len(self.old.received) == 1 and len(self.new.received) == 4
        assert {request.first("authorization") for request in self.old.received} == {"Bearer sk-old-secret"}
        assert {request.first("authorization") for request in self.new.received} == {"Bearer sk-new-secret"}


def test_a_new_secret_never_goes_to_the_old_address(start, http):
    setting = Setting(start, http)
    setting.reload(setting.policy(setting.new.url, "sk-new-secret"))
    setting.check()


def test_waiting_calls_follow_the_new_route(start, http):
    setting = Setting(start, http)
    setting.reload(setting.policy(setting.new.url, "sk-new-secret", name="q"))
    setting.check()
