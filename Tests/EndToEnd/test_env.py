"""`tollgate env`: what it prints, and what it writes into other programs' settings."""

import json
import subprocess
import tomllib

import pytest

from processes import policy_for, run, write_policy


def printed(*arguments, **options):
    result = run("env", *arguments, **options)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_a_shell_can_take_what_is_printed():
    """As the help says: `eval "$(tollgate env aider)"`."""
    taken = subprocess.run(["sh", "-c", printed("aider") + 'echo "$OPENAI_API_BASE $ANTHROPIC_API_BASE"'], capture_output=True, text=True)
    assert taken.stdout == "http://127.0.0.1:4141/v1 http://127.0.0.1:4141\n"


@pytest.mark.parametrize("url", ["http://broker.internal:4000", "https://[::1]:4000/"])
def test_the_address_is_the_one_that_is_given(url):
    told = json.loads(printed("openai", "--url", url, "--json"))
    assert told["variables"]["OPENAI_BASE_URL"] == url.rstrip("/") + "/v1"


def test_the_address_is_that_of_the_policy(tmp_path):
    policy = write_policy(tmp_path, policy_for("http://127.0.0.1:9", listen=["127.0.0.1:4999"]))
    told = json.loads(printed("anthropic", "--policy", policy, "--json", env={"SIM_KEY": "sk-a-secret"}))
    assert told["variables"]["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:4999"
    assert "sk-a-secret" not in json.dumps(told)


@pytest.mark.parametrize("url", ["127.0.0.1:4141", "http://127.0.0.1:4141/v1", "http://h/$(id)", "http://u:p@h", "http://h\"x"])
def test_what_is_no_address_is_refused(url):
    result = run("env", "openai", "--url", url)
    assert result.returncode == 2 and "--url" in result.stderr and result.stdout == ""


def test_an_unknown_client_gets_the_list():
    result = run("env", "claud-code")
    assert result.returncode == 2
    assert "Did you mean 'claude-code'?" in result.stderr and "litellm" in result.stderr


def test_codex_is_told_all_that_it_needs():
    """Its variable alone would not bring it to the broker."""
    told = printed("codex", "--url", "http://10.0.0.7:4141")
    settings = tomllib.loads("\n".join(line[4:] for line in told.splitlines() if line.startswith("#   ")))
    assert settings["model_provider"] == "tollgate"
    assert settings["model_providers"]["tollgate"]["base_url"] == "http://10.0.0.7:4141/v1"
    taken = subprocess.run(["sh", "-c", told + 'echo "$TOLLGATE_CLIENT_KEY"'], capture_output=True, text=True)
    assert taken.stdout == "tg-local\n"


def test_a_client_without_settings_says_what_to_do():
    result = run("env", "openai", "--write")
    assert result.returncode == 1 and "export" in result.stderr


def test_claude_code_settings_are_merged_and_the_old_ones_kept(tmp_path):
    env = {"HOME": str(tmp_path)}
    file = tmp_path / ".claude/settings.json"
    assert "settings.json now names http://127.0.0.1:4141" in printed("claude-code", "--write", env=env)
    assert json.loads(file.read_text())["env"]["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:4141"
    assert not list(file.parent.glob("*.before-tollgate*"))
    old = '{"model": "opus", "env": {"ANTHROPIC_AUTH_TOKEN": "tg-my-own", "OTHER": "x"}}\n'
    file.write_text(old)
    file.chmod(0o640)
    said = printed("claude-code", "--write", env=env)
    settings = json.loads(file.read_text())
    assert settings["model"] == "opus" and settings["env"] == {
        "ANTHROPIC_AUTH_TOKEN": "tg-my-own", "OTHER": "x", "ANTHROPIC_BASE_URL": "http://127.0.0.1:4141",
        "CLAUDE_CODE_GATEWAY_HINT_HEADERS": "1"}
    assert file.stat().st_mode & 0o777 == 0o640
    assert "tg-my-own" not in said
    [kept] = file.parent.glob("*.before-tollgate*")
    assert kept.read_text() == old
    before = file.read_text()
    assert "says so already" in printed("claude-code", "--write", env=env)
    assert file.read_text() == before and len(list(file.parent.iterdir())) == 2


def test_codex_settings_are_merged(tmp_path):
    env = {"HOME": "/nonexistent", "CODEX_HOME": str(tmp_path / "codex")}
    file = tmp_path / "codex/config.toml"
    told = json.loads(printed("codex", "--write", "--json", env=env))
    assert told["changed"] is True and told["file"] == str(file)
    file.write_text('model = "gpt-6-sol"\nmodel_provider = "other"\n[model_providers.other]\nname = "other"\n')
    printed("codex", "--write", "--url", "http://10.0.0.7:4141", env=env)
    settings = tomllib.loads(file.read_text())
    assert (settings["model"], settings["model_provider"]) == ("gpt-6-sol", "tollgate")
    assert settings["model_providers"]["tollgate"]["base_url"] == "http://10.0.0.7:4141/v1"
    assert json.loads(printed("codex", "--write", "--url", "http://10.0.0.7:4141", "--json", env=env))["changed"] is False


@pytest.mark.parametrize("client, name, text, place", [
    ("claude-code", ".claude/settings.json", '{\n  "env": {\n    "A": "1"\n', ":4:1: error: "),
    ("claude-code", ".claude/settings.json", '{\n  // mine\n}', ":2:3: error: "),
    ("codex", ".codex/config.toml", 'model = "x"\n[broken\n', ":2:1: error: "),
])
def test_broken_settings_are_left_alone_and_the_place_is_told(tmp_path, client, name, text, place):
    file = tmp_path / name
    file.parent.mkdir()
    file.write_text(text)
    result = run("env", client, "--write", env={"HOME": str(tmp_path)})
    assert result.returncode == 1 and name + place in result.stderr, result.stderr
    assert file.read_text() == text and len(list(file.parent.iterdir())) == 1


def test_settings_behind_a_link_stay_behind_it(tmp_path):
    (tmp_path / ".claude").mkdir()
    real = tmp_path / "dotfiles.json"
    real.write_text("{}")
    (tmp_path / ".claude/settings.json").symlink_to(real)
    printed("claude-code", "--write", env={"HOME": str(tmp_path)})
    assert (tmp_path / ".claude/settings.json").is_symlink()
    assert json.loads(real.read_text())["env"]["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:4141"
