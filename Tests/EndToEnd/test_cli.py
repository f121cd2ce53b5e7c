"""The command line: versions, help, mistakes, exit codes and streams."""

import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("TOLLGATE_BINARY", str(ROOT / ".build/debug/tollgate"))


def test_version_is_printed():
    done = subprocess.run([BINARY, "--version"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
