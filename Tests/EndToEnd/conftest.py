"""Fixtures: brokers, simulators and scripted providers that end with the test, and whose logs are shown when it fails."""

import httpx
import pytest

from browser import Browser
from processes import Broker, Child, Simulator, policy_for, write_policy
from scripted import ScriptedProvider


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        for child in Child.running:
            report.sections.append((f"tollgate {child.arguments[1]}", child.logs()))
    return report


def pytest_terminal_summary(terminalreporter):
    """Each file's share of the time, so that a slow one is seen before it hurts."""
    shares = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            if hasattr(report, "duration") and hasattr(report, "nodeid"):
                name = report.nodeid.split("::")[0].rsplit("/", 1)[-1]
                shares[name] = shares.get(name, 0) + report.duration
    slowest = sorted(shares.items(), key=lambda share: -share[1])
    terminalreporter.write_line("seconds by file: " + ", ".join(f"{name} {seconds:.0f}" for name, seconds in slowest))


class Starter:
    """Starts things and ends them in reverse order."""

    def __init__(self, folder_factory):
        self.folder_factory = folder_factory
        self.children, self.providers = [], []

    def _keep(self, child):
        self.children.append(child)
        return child

    def child(self, *arguments, **options):
        return self._keep(Child(*arguments, **options))

    def simulator(self, **settings):
        return self._keep(Simulator(**settings))

    def broker(self, policy=None, *flags, **options):
        """`policy` is a dict, YAML text, or None for the built-in one."""
        path = write_policy(self.folder_factory(), policy) if policy is not None else None
        return self._keep(Broker(path, *flags, **options))

    def provider(self, answer):
        provider = ScriptedProvider(answer)
        self.providers.append(provider)
        return provider

    def close(self):
        for child in reversed(self.children):
            child.stop()
        for provider in self.providers:
            provider.close()
        for child in self.children:
            child.check_health()


@pytest.fixture
def start(tmp_path_factory):
    """Starts what one test needs."""
    starter = Starter(lambda: tmp_path_factory.mktemp("policy"))
    yield starter
    starter.close()


@pytest.fixture(scope="module")
def start_for_module(tmp_path_factory):
    """Starts what the tests of one file share."""
    starter = Starter(lambda: tmp_path_factory.mktemp("policy"))
    yield starter
    starter.close()


@pytest.fixture(scope="module")
def simulator(start_for_module):
    """A simulator without limits that answers at once."""
    return start_for_module.simulator(first_token="1ms", output_tokens="5-5")


@pytest.fixture(scope="module")
def broker(start_for_module, simulator):
    """A broker without limits in front of `simulator`."""
    return start_for_module.broker(policy_for(simulator.url))


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium for all files; `browser.page(url)` is a tab."""
    found = Browser()
    yield found
    found.close()


@pytest.fixture
def http():
    with httpx.Client(timeout=20, trust_env=False) as client:
        yield client
