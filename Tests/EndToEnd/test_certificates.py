"""Certificates of the data port that are renewed while the broker runs."""

import os
import signal
import socket
import ssl

import pytest

from certificates import make_certificate
from processes import policy_for
from waiting import wait_until


def shown(broker):
    """The certificate that the data port shows now, as bytes."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", broker.port), timeout=10) as raw:
        with context.wrap_socket(raw) as tls:
            return tls.getpeercert(binary_form=True)


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()
    return make_certificate(folder)


@pytest.fixture
def broker(start, simulator, files):
    return start.broker(policy_for(simulator.url, tls={"certificate": str(files[0]), "key": str(files[1])}))


def renewed(tmp_path):
    folder = tmp_path / "renewed"
    folder.mkdir(exist_ok=True)
    return make_certificate(folder)


def test_a_renewed_certificate_is_taken_up(broker, files, tmp_path):
    before = shown(broker)
    context = ssl.create_default_context(cafile=str(files[0]))
    with socket.create_connection(("127.0.0.1", broker.port), timeout=10) as raw:
        with context.wrap_socket(raw, server_hostname="127.0.0.1") as open_before:
            for old, new in zip(files, renewed(tmp_path)):
                os.replace(new, old)
            broker.wait_for_line("certificate taken up")
            assert shown(broker) != before
            open_before.sendall(b"GET /v1/nothing-here HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert open_before.recv(12) == b"HTTP/1.1 404", "open connections go on"


def test_a_certificate_that_becomes_a_pipe_stops_nobody(broker, files, http):
    before = shown(broker)
    os.unlink(files[0])
    os.mkfifo(files[0])
    answer = http.post(broker.admin + "/api/v1/reload", timeout=10)
    assert answer.status_code == 422 and "not a file" in answer.text, answer.text
    assert shown(broker) == before


def test_a_key_that_does_not_fit_is_told_and_the_old_pair_stays(broker, files, tmp_path):
    before = shown(broker)
    certificate, key = renewed(tmp_path)
    os.replace(key, files[1])
    broker.wait_for_line("certificate is refused.*is not the key of certificate")
    assert shown(broker) == before
    os.replace(certificate, files[0])
    broker.wait_for_line("certificate taken up")
    assert shown(broker) != before


def test_a_broken_key_is_told_at_a_reload_and_refuses_it_whole(broker, files, http):
    before = shown(broker)
    files[1].write_text("no key")
    answer = http.post(broker.admin + "/api/v1/reload")
    assert answer.status_code in (400, 422) and "key file" in answer.text
    assert shown(broker) == before
    files[1].unlink()
    broker.signal(signal.SIGHUP)
    broker.wait_for_line("policy refused.*key file.*[Nn]o such file")
    assert shown(broker) == before


def test_a_reload_takes_up_other_files(broker, files, tmp_path):
    before = shown(broker)
    new = renewed(tmp_path)
    text = broker.policy_file.read_text()
    for old, other in zip(files, new):
        text = text.replace(str(old), str(other))
    broker.policy_file.write_text(text)
    broker.signal(signal.SIGHUP)
    wait_until(lambda: shown(broker) != before, "the other certificate")
    second = shown(broker)
    make_certificate(new[0].parent)
    wait_until(lambda: shown(broker) != second, "the files that are named now are followed")


def test_files_that_are_renewed_while_a_reload_reads_its_secrets_count(start, simulator, files, tmp_path):
    """The reload names other files, and they are replaced before it is done: the last ones are shown."""
    gate, asked = tmp_path / "gate", tmp_path / "asked"
    gate.write_text("")
    policy = policy_for(simulator.url, tls={"certificate": str(files[0]), "key": str(files[1])})
    script = f"touch {asked}; while [ ! -e {gate} ]; do sleep 0.02; done; echo sk-secret-of-a-command"
    for entry in policy["providers"].values():
        entry["keys"] = [{"id": "main", "secret": {"command": ["sh", "-c", script]}}]
    broker = start.broker(policy)
    before = shown(broker)
    gate.unlink()
    asked.unlink()
    other = renewed(tmp_path)
    text = broker.policy_file.read_text()
    for old, new in zip(files, other):
        text = text.replace(str(old), str(new))
    broker.policy_file.write_text(text)
    broker.signal(signal.SIGHUP)
    wait_until(asked.exists, "the secret's command")
    (tmp_path / "last").mkdir()
    last = make_certificate(tmp_path / "last")
    expected = ssl.PEM_cert_to_DER_cert(last[0].read_text())
    for new, old in zip(last, other):
        os.replace(new, old)
    gate.write_text("")
    wait_until(lambda: shown(broker) not in (before,), "a certificate of the other files")
    wait_until(lambda: shown(broker) == expected, "the last certificate")


def test_a_ca_file_that_is_a_pipe_fails_its_own_calls_only(start, simulator, http, tmp_path):
    os.mkfifo(tmp_path / "ca.pem")
    policy = policy_for("https://127.0.0.1:9", retry={"attempts": 1})
    policy["providers"]["openai"]["ca_file"] = str(tmp_path / "ca.pem")
    broker = start.broker(policy)
    answer = http.post(
        broker.openai_url + "/chat/completions", json={"model": "m", "messages": []}, timeout=10)
    assert answer.status_code == 502, answer.text
    assert http.get(broker.admin + "/healthz", timeout=10).status_code == 200
    recent = http.get(broker.admin + "/api/v1/requests?state=recent").json()["requests"]
    assert "no file" in str(recent[0]), recent
