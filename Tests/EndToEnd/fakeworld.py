"""A broker's day as the admin API tells it, made up: providers, queues, tenants, sessions, requests, history. For pages at sizes and in
troubles that would take a real broker minutes to get into. Numbers are the same for the same world and time."""

import datetime
import math
import random
import time

CLASSES = ("high", "normal", "low")
MODELS = ("claude-opus-5", "claude-sonnet-5", "gpt-6-sol", "gpt-6-mini", "gemini-4-pro")
# One that no policy names, and of which providers tell a pace.
PACED = "fable-5-preview"
NAMES = ("anthropic", "openai", "openrouter", "azure-east", "azure-west", "gemini", "mistral", "groq")
TENANTS = ("acme", "globex", "initech", "umbrella", "hooli", "stark", "wayne", "wonka")
# What a client may call its session or tenant: markup, a terminal's colours, text that runs backwards, and far too much of it.
HOSTILE = ("<img src=x onerror=alert(1)>", "red\x1b[31m\x07bell\x00nul", "abc\u202egnp.exe\u2066x\u200bz", "<script>alert(1)</script>" * 160,
           "tab\tline\nbreak\u2028sep\ud83d\ude00", "'\"&lt;b&gt;")
BASE32 = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def rfc(seconds):
    moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def money(value):
    return f"{value:.9f}"


def by_class(*values):
    return dict(zip(CLASSES, values))


class World:
    """`providers`, `tenants` and `queued` are sizes; `trouble` opens breakers and empties buckets; `hostile` names things as attackers would."""

    def __init__(self, providers=3, tenants=8, queued=24, trouble=False, hostile=False):
        self.providers, self.tenants, self.depth = providers, tenants, queued
        self.trouble, self.hostile = trouble, hostile
        self.began = time.time() - 3 * 3600
        self.disabled, self.breakers, self.changes, self.raises = {}, {}, [], []
        self.draining = False
        self.requests = self._requests()

    # Names

    def provider_name(self, index):
        return NAMES[index] if index < len(NAMES) else f"provider-{index:02d}"

    def tenant_name(self, index):
        if self.hostile and index < len(HOSTILE):
            return HOSTILE[index]
        return TENANTS[index] if index < len(TENANTS) else f"team-{index:03d}"

    def session_name(self, index):
        if self.hostile and index < len(HOSTILE):
            return HOSTILE[index]
        return f"session-{index:04d}"

    @staticmethod
    def request_id(index):
        text = ""
        for _ in range(26):
            text = BASE32[index % 32] + text
            index = index // 32
        return "01K" + text[3:]

    # Status

    def bucket(self, name, capacity, share, kept=0.1, in_use=0.08):
        available = int(capacity * share)
        used = capacity - available
        return {"dimension": name, "available": available, "capacity": capacity, "in_use": min(used, int(capacity * in_use)), "per_minute": capacity,
                "kept": {"high": int(capacity * kept), "normal": 0},
                "full_at": rfc(time.time() + used / capacity * 60) if used else None}

    def taught(self, most, policy):
        """The fields of a model or key whose limit of calls is a learned one, or is none."""
        return {"concurrency_limit": policy if most is None else most, "policy_concurrency": policy, "learned_concurrency": most,
                "learned_from": None if most is None else "refusals (429) without numbers", "learned_since": None if most is None else rfc(self.began + 600)}

    def key(self, provider, name, in_flight, state="usable", reason=None, until=None, learned=None):
        by_hand = self.disabled.get((provider, name))
        if by_hand:
            state, reason, until = "disabled", "operator", None
        return {"id": name, "secret": "•••" + name[-4:].rjust(4, "0"), "state": state, "reason": reason, "until": until, "valid_from": None, "expires": None,
                "in_flight": in_flight, **self.taught(learned, 30), "buckets": [], "models": []}

    def provider(self, index, now):
        name, wave = self.provider_name(index), math.sin(now / 7 + index)
        sick = self.trouble and index % 5 == 1
        tight = self.trouble and index % 5 == 0
        limit = (50, 40, 20)[index % 3]
        running = 0 if sick else int(limit * (0.7 + 0.2 * wave))
        high, normal = min(running, 2 + index % 3), min(running, 9)
        normal = min(normal, running - high)
        learned = limit - 8 if index % 3 == 0 else None
        waiting = self._waiting_at(index)
        breaker = {"state": "closed", "reason": None, "since": None, "until": None}
        if sick:
            breaker = {"state": "open", "reason": "connection refused", "since": rfc(self.began), "until": rfc(self.began + (math.floor((now - self.began) / 40) + 1) * 40)}
        if name in self.breakers:
            breaker = {"state": self.breakers[name], "reason": "operator", "since": rfc(now) if self.breakers[name] == "open" else None, "until": None}
        keys = [self.key(name, "main", running - running // 3)]
        keys.append(self.key(name, "spare", running // 3, *(("cooling", "rate limited", rfc(now + 25 - now % 25)) if tight else ()), learned=24 if index % 3 == 0 else None))
        if sick:
            keys.append(self.key(name, "old", 0, "disabled", "refused"))
        return {
            "id": name, "dialect": "anthropic" if index % 2 == 0 else "openai", "base_url": f"https://{name}.example", "state": "usable", "until": None,
            "reason": None, "in_flight": running, "concurrency_limit": learned or limit, "policy_concurrency": limit, "learned_concurrency": learned,
            "reserved_permits": by_class(limit // 10, 0, 0), "free_in_flight": index % 2, "free_until": None,
            "in_flight_by_priority": by_class(high, normal, running - high - normal), "queued": by_class(*waiting),
            "oldest_wait_ms": by_class(*(None if not count else int(400 * (1 + rank * 9) * (1.2 + wave)) for rank, count in enumerate(waiting))),
            "buckets": [self.bucket("requests", 1000, 0.7 + 0.2 * wave), self.bucket("input_tokens", 2_000_000, 0.5 + 0.3 * wave),
                        self.bucket("output_tokens", 400_000, 0.03 if tight else 0.4 + 0.2 * wave)],
            "models": [{"models": "claude-opus-*" if index % 2 == 0 else "gpt-6-sol*", "state": "cooling" if tight else "usable", "reason": "rate limited" if tight else None,
                        "until": rfc(now + 18 - now % 18) if tight else None, "listed": True, "in_flight": running // 2, **self.taught(18 if index % 3 == 0 else None, 20), "buckets": [],
                        "learned_limits": []}] + self._unlisted(index),
            "breaker": breaker, "keys": keys, "throttled_last_minute": 14 if tight else 0, "calls_last_minute": running * 6}

    def _unlisted(self, index):
        """A model without an entry in the policy, of which a pace alone was learned."""
        limits = [{name: one[name] for name in ("what", "value", "unit", "from", "since")} for one in self._learned(index) if one["model"] == PACED]
        return [{"models": PACED, "state": "usable", "reason": None, "until": None, "listed": False, **self.taught(None, None), "learned_limits": limits}] if limits else []

    def _learned(self, index):
        if index % 3:
            return []
        model = "claude-opus-*" if index % 2 == 0 else "gpt-6-sol*"
        return [self.learned(index, "concurrency", 18, "calls", model=model), self.learned(index, "concurrency", 24, "calls", key="spare"),
                self.learned(index, "requests_per_minute", 500, "requests/min", key="spare"), self.learned(index, "tokens_per_minute", 90_000, "tokens/min", model=PACED)]

    def learned(self, index, what, value, unit, model=None, key=None):
        return {"provider": self.provider_name(index), "what": what, "model": model, "key": key, "value": value, "unit": unit, "from": "refusals (429) without numbers",
                "since": rfc(self.began + 600)}

    def _waiting_at(self, index):
        share = self.depth // self.providers + (1 if index < self.depth % self.providers else 0)
        high = share // 12 if self.trouble else 0
        normal = share // 4
        return high, normal, share - high - normal

    def tenant(self, index, now):
        running = int(6 + 4 * math.sin(now / 9 + index)) if index < 60 else index % 3
        queued = self.depth // self.tenants
        return {"id": self.tenant_name(index), "weight": 1 + index % 2, "listed": True, "in_flight": running, "queued": queued, "concurrency_limit": 10 + index % 5 * 10,
                "buckets": [], "oldest_wait_ms": 900 * (1 + index % 7) if queued else None}

    def budget(self, index, now):
        limit = 50.0 * (1 + index % 3)
        spent = limit * (0.97 if self.trouble and index == 0 else 0.2 + 0.6 * ((index * 37) % 100) / 100)
        # Five hours to go, whatever the time of day is.
        ends = self.began + 8 * 3600
        burn = limit / 12
        out = now + (limit - spent) / burn * 3600
        name = self.tenant_name(index)
        return {"id": f"{name}/day", "scope": "tenant", "tenant": name, "name": None, "per": "day", "unit": "usd", "time_zone": "UTC", "on_exceed": "reject",
                "limit_usd": money(limit), "raised_usd": money(0), "spent_usd": money(spent), "held_usd": money(limit * 0.01), "remaining_usd": money(limit * 0.99 - spent),
                "warn_at_percent": 80, "waiting": 0, "window_ends": rfc(ends), "burn_usd_per_hour": money(burn),
                "runs_out_at": rfc(out) if out < ends else None}

    def status(self, tenant=None):
        now = time.time()
        providers = [self.provider(index, now) for index in range(self.providers)]
        queued = {name: sum(one["queued"][name] for one in providers) for name in CLASSES}
        tenants = [self.tenant(index, now) for index in range(self.tenants)]
        budgets = [self.budget(index, now) for index in range(min(self.tenants, 12))]
        if tenant:
            return {"version": "0.1.0", "draining": self.draining, "started_at": rfc(self.began), "at": rfc(now),
                    "tenants": [one for one in tenants if one["id"] == tenant], "budgets": [one for one in budgets if one["tenant"] == tenant]}
        classes = {}
        for rank, name in enumerate(CLASSES):
            some = queued[name]
            classes[name] = {"queued": some, "oldest_ms": int(1500 * (1 + rank * 4)) if some else None, "predicted_wait_ms": int(900 * (1 + rank * 5)) if some else 0,
                             "waits_for": {"blocker": "provider_bucket", "provider": providers[0]["id"],
                                           "text": f"output tokens of {providers[0]['id']}: 12,400 of 40,000 needed, there in 41 s"} if some else None}
        alerts = []
        headline = "steer calls wait 0 ms; background waits 4 s for output tokens of anthropic; nothing is failing"
        if self.trouble:
            headline = ("steer calls wait 1.5 s; background waits 14 s for output tokens of anthropic; openai is unreachable: breaker open for 2 min, "
                        "connection refused")
            alerts = [{"name": "queue_depth", "severity": "critical", "since": rfc(self.began + 9000), "text": f"{sum(queued.values()):,} calls wait, critical from 200"},
                      {"name": "throttled", "severity": "warning", "since": rfc(self.began + 9600), "text": "14 calls were refused by anthropic in the last minute (429)"}]
        return {
            "version": "0.1.0", "draining": self.draining, "started_at": rfc(self.began), "at": rfc(now), "headline": headline, "ledger": "ok", "queued": queued,
            "queued_bytes": self.depth * 40_000, "running": sum(one["in_flight"] for one in providers), "sessions_at_limit": 0, "spent_usd": money(41.237),
            "problems": [], "alerts": alerts, "classes": classes, "providers": providers, "tenants": tenants, "budgets": budgets,
            "totals": {"calls_last_minute": 431, "tokens_last_minute": 1_240_000, "cost_last_hour_usd": money(18.4123), "throttled_last_minute": 14 if self.trouble else 0},
            "learned": [one for index in range(self.providers) for one in self._learned(index)], "learned_left_out": 0, "memory": {"limit_bytes": 536870912, "held_bytes": 41_000_000}}

    # Requests

    def _requests(self):
        dice = random.Random(7)
        made = []
        for index in range(1000):
            state = "queued" if index < min(self.depth, 400) else "running" if index < min(self.depth, 400) + 60 else "ended"
            wait = int(dice.expovariate(1 / 4000))
            priority = CLASSES[0 if index % 9 == 0 else 1 if index % 4 == 0 else 2]
            outcome = None if state != "ended" else "completed" if dice.random() < 0.9 else dice.choice(["failed_upstream", "client_left_queued", "evicted_max_wait"])
            provider = self.provider_name(index % self.providers)
            made.append({
                "id": self.request_id(10_000_000 + index), "state": state, "outcome": outcome, "status": 200 if outcome == "completed" else None if outcome is None else 503,
                "age": index * 0.7 if state == "ended" else wait / 1000, "method": "POST", "path": "/v1/messages", "tenant": self.tenant_name(index % self.tenants),
                "session": self.session_name(index % 40), "agent": None if index % 3 else f"agent-{index % 5}", "priority": priority,
                "priority_reason": "kind steer" if priority == "high" else "default", "kind": "steer" if priority == "high" else "background", "unknown_hints": [],
                "model": HOSTILE[index % 6][:300] if self.hostile and index < 6 else MODELS[index % 5], "provider": None if state == "queued" else provider,
                "key": None if state == "queued" else "main", "queued_ms": wait, "first_byte_ms": None if state == "queued" else wait + 800,
                "total_ms": wait + 4200 if state == "ended" else None, "attempts": 0 if state == "queued" else 1 + (index % 11 == 0), "input_tokens": 12_000 + index * 7,
                "output_tokens": 0 if state == "queued" else 640, "estimated": state != "ended", "impossible_numbers": False,
                "cost_usd": money(0.0612) if state == "ended" else None, "message": None, "predicted_wait_ms": 9000 if state == "queued" else None,
                "waits_for": {"blocker": "provider_bucket" if index % 3 else "provider_concurrency",
                              "text": f"output tokens of {self.provider_name(0)}: 12,400 of 40,000 needed, there in 41 s; 3 before it in its lane" if index % 3
                              else f"a place at {provider}: 50 of 50 in use"} if state == "queued" else None})
        return made

    def entry(self, request):
        return {name: value for name, value in request.items() if name != "age"} | {"arrived_at": rfc(time.time() - request["age"])}

    def listed(self, wanted):
        found = self.requests
        state = wanted.get("state", "recent")
        found = [one for one in found if one["state"] == ("ended" if state == "recent" else state)]
        for name in ("tenant", "session", "priority", "provider"):
            if wanted.get(name):
                found = [one for one in found if one[name] == wanted[name]]
        if wanted.get("sort") == "slowest":
            found = sorted(found, key=lambda one: -(one["total_ms"] or one["queued_ms"]))
        made = [self.entry(one) for one in found[:int(wanted.get("limit", 100))]]
        # A broker foretells a hundred waits of a list.
        return made[:100] + [one | {"predicted_wait_ms": None, "waits_for": None} for one in made[100:]]

    def story(self, request_id):
        for one in self.requests:
            if one["id"] == request_id:
                return self._story(one)
        return None

    def _story(self, request):
        now_ms = int(request["age"] * 1000) + (5000 if request["state"] == "ended" else 0)
        wait = request["queued_ms"]
        first, last = wait * 2 // 5, wait
        text = "output tokens of anthropic: 12,400 of 40,000 needed, there in 41 s; 3 before it in its lane"
        waits = [{"blocker": "not_its_turn", "reason": "its turn", "text": "its turn: 4 calls of higher classes before it", "rule": "2", "from_ms": 0, "until_ms": first,
                  "after_attempts": 0, "provider": None, "needed": None, "available": None, "there_in_ms": None},
                 {"blocker": "provider_bucket", "reason": "tokens", "text": text, "rule": "5", "from_ms": first, "until_ms": last if request["state"] != "queued" else None,
                  "after_attempts": 0, "provider": "anthropic", "needed": 40000, "available": 12400, "there_in_ms": 41000}]
        line = [{"what": "wait", "from_ms": one["from_ms"], "until_ms": one["until_ms"], "text": one["text"], "provider": one["provider"], "key": None, "status": None,
                 "blocker": one["blocker"], "rule": one["rule"]} for one in waits]
        tries = []
        if request["state"] != "queued":
            end = request["total_ms"]
            tries = [{"number": 1, "provider": request["provider"], "key": "main", "status": 200, "verdict": "success", "failure": None, "from_ms": wait,
                      "first_byte_ms": wait + 800, "until_ms": end, "held_usd": money(0.09), "cost_usd": request["cost_usd"], "cost_source": "usage"}]
            line += [{"what": "attempt", "from_ms": wait, "until_ms": wait + 800, "text": f"attempt 1 at {request['provider']}/main", "provider": request["provider"],
                      "key": "main", "status": None, "blocker": None, "rule": None},
                     {"what": "first_byte", "from_ms": wait + 800, "until_ms": wait + 800, "text": "first byte", "provider": request["provider"], "key": "main",
                      "status": 200, "blocker": None, "rule": None},
                     {"what": "stream", "from_ms": wait + 800, "until_ms": end, "text": "640 tokens streamed", "provider": request["provider"], "key": "main",
                      "status": 200, "blocker": None, "rule": None}]
            if end is not None:
                line.append({"what": "end", "from_ms": end, "until_ms": end, "text": str(request["outcome"]), "provider": None, "key": None, "status": 200,
                             "blocker": None, "rule": None})
        return self.entry(request) | {
            "promoted_ms": None, "waits": waits, "tries": tries, "timeline": line, "now_ms": now_ms, "position": {"lane": 2, "class": 14} if request["state"] == "queued" else None,
            "went_ahead": [{"id": self.request_id(10_000_500), "priority": "high", "tenant": self.tenant_name(1), "session": self.session_name(3), "rule": "1",
                            "text": "its class is higher", "at_ms": 400, "count": 1},
                           {"id": None, "priority": "normal", "tenant": None, "session": None, "rule": "3", "text": "its class had not had its share", "at_ms": None, "count": 17}],
            "estimate": {"input_tokens": request["input_tokens"], "output_tokens": 1023, "cached_input_tokens": 9000}, "cache_read_tokens": 8000, "cache_write_tokens": 1200,
            "price": {"line": "claude-opus-5*", "version": "2026-11-20", "input_usd_per_m": 5, "output_usd_per_m": 25, "cache_read_usd_per_m": 0.5, "cache_write_usd_per_m": 6.25}}

    # Sessions, history, audit

    def sessions(self, wanted):
        made = []
        for index in range(60):
            agents = [{"agent": "" if one == 0 else f"agent-{one:02d}", "running": (index + one) % 3, "waiting": (index * one) % 2, "requests": 40 - one, "input_tokens": 90_000 // (one + 1),
                       "output_tokens": 4000 // (one + 1), "cost_usd": money(0.4 / (one + 1)), "last_at": rfc(time.time() - index)} for one in range(1 + index % 6)]
            made.append({"tenant": self.tenant_name(index % self.tenants), "session": self.session_name(index), "running": sum(one["running"] for one in agents),
                         "waiting": sum(one["waiting"] for one in agents), "requests": 40 * len(agents), "input_tokens": 90_000 + index,
                         "output_tokens": 4000, "cost_usd": money(1.3 / (index + 1)), "first_at": rfc(self.began), "last_at": rfc(time.time() - index), "agents": agents})
        if wanted.get("tenant"):
            made = [one for one in made if one["tenant"] == wanted["tenant"]]
        if wanted.get("search"):
            made = [one for one in made if wanted["search"].lower() in (one["session"] + one["tenant"]).lower()]
        return {"sessions": made[:int(wanted.get("limit", 100))], "left_out": 0}

    def history(self, wanted):
        spans = {"5m": (300, 5), "1h": (3600, 30), "24h": (86400, 600), "30d": (2592000, 7200)}
        span, step = spans.get(wanted.get("since", "1h"), spans["1h"])
        now = time.time()
        first = math.floor((now - span) / step) * step
        moments = [first + step * number for number in range(span // step + 1)]
        providers = [self.provider_name(index) for index in range(min(self.providers, 50))]
        tenants = [self.tenant_name(index) for index in range(min(self.tenants, 50))]
        labels = {"calls": [{"provider": name, "outcome": outcome} for name in providers for outcome in ("completed", "failed_upstream")],
                  "tokens": [{"provider": name, "type": kind} for name in providers for kind in ("input", "output")], "refused": [{"provider": name} for name in providers],
                  "cost": [{"tenant": name} for name in tenants], "in_use": [{"provider": name} for name in providers]}
        scale = {"calls": 90, "tokens": 900_000, "refused": 3, "cost": 6, "in_use": 30, "queued": 20}
        made = []
        for metric in wanted["metric"].split(","):
            series = []
            for rank, label in enumerate(labels.get(metric, [{"priority": name} for name in CLASSES])):
                high = scale.get(metric, {"wait_p50": 0.4, "wait_p95": 2.0, "wait_p99": 4.5}.get(metric, 1)) * (1 + rank * 2 if "priority" in label else 1 / (1 + rank))
                points = [[int(moment * 1000), None if rank == 0 and span / 3 < moment - first < span / 2.4
                           else round(high * (1 + 0.5 * math.sin(moment / span * 25 + rank) + 0.15 * math.sin(moment / step)), 3)] for moment in moments]
                series.append({"labels": label, "points": points})
            made.append({"metric": metric, "step_s": step, "series": series})
        marks = [{"at": rfc(now - span * 0.72), "what": "policy", "subject": "", "state": "reloaded", "text": "policy reloaded"},
                 {"at": rfc(now - span * 0.35), "what": "breaker", "subject": "openai", "state": "open", "text": "breaker of openai opened: connection refused"},
                 {"at": rfc(now - span * 0.30), "what": "breaker", "subject": "openai", "state": "closed", "text": "breaker of openai closed"},
                 {"at": rfc(now - span * 0.12), "what": "limit", "subject": "anthropic", "state": "42", "text": "limit of anthropic learned: 42 at a time"}]
        return {"metrics": made, "marks": marks} if "," in wanted["metric"] else made[0] | {"marks": marks}

    def usage(self):
        rows = [{"tenant": self.tenant_name(index), "requests": 900 // (index + 1), "input_tokens": 4_000_000 // (index + 1), "cache_read_tokens": 1_000_000 // (index + 1),
                 "output_tokens": 200_000 // (index + 1), "cost_usd": money(22.0 / (index + 1))} for index in range(self.tenants)]
        return {"rows": rows, "total": {}, "since": rfc(time.time() - 86400), "until": rfc(time.time())}

    # Changes

    def change(self, parts, query):
        """What a POST does; the error's status and text, or None."""
        if parts[0] == "keys":
            self.disabled[(parts[1], parts[2])] = parts[3] == "disable"
            self._note("key", f"{parts[1]}/{parts[2]}", "disabled" if parts[3] == "disable" else "usable")
        elif parts[0] == "breakers":
            self.breakers[parts[1]] = {"open": "open", "close": "closed"}.get(parts[2], "closed")
            self._note("breaker", parts[1], parts[2])
        elif parts[0] == "drain":
            self.draining = True
            self._note("broker", "", "draining")
        elif parts[0] == "reload":
            if self.trouble:
                return 422, {"reloaded": False, "errors": ["policy.yaml:4:3: error: providers: 'limts' is no field, did you mean \"limits\"?"]}
            self._note("policy", "", "reloaded")
            return 200, {"reloaded": True, "errors": []}
        elif parts == ["budgets", "raise"]:
            self._note("budget", query.get("tenant", "broker"), f"raised by {query.get('usd') or query.get('tokens') or query.get('requests')}")
        elif parts == ["log-level"]:
            self._note("log_level", "", query.get("level", ""))
            return 200, {"level": query.get("level")}
        else:
            return 404, {"error": {"message": "there is no such path here"}}
        return None

    def _note(self, subject, name, state):
        self.changes.insert(0, {"at": rfc(time.time()), "subject": subject, "name": name, "state": state, "reason": "operator", "asked_by": "admin token", "before": None,
                                "after": None, "text": f"{subject} {name} {state}, by admin token".replace("  ", " ")})
