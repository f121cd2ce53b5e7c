"""A terminal for a program: a pseudo-terminal, and an emulator that shows what a user would see."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import threading

import pyte

from processes import BINARY, environment
from waiting import wait_until


class Terminal:
    """Runs a program on a terminal of its own. `raw` has every byte that it wrote."""

    def __init__(self, *arguments, columns=80, rows=24, env=None, controlling=True, program=None):
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        self._lock = threading.Lock()
        self.raw = b""
        self.master, slave = pty.openpty()
        self._size(columns, rows)
        # Kept open, so that the terminal can be looked at after the program has ended.
        self.slave = slave
        self.before = termios.tcgetattr(slave)

        def take():
            if controlling:
                fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            program or [BINARY, *map(str, arguments)], stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            preexec_fn=take, env=environment({"TERM": "xterm-256color", "TZ": "UTC", **(env or {})}))
        self._reading = True
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _size(self, columns, rows):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def _read(self):
        while self._reading:
            ready, _, _ = select.select([self.master], [], [], 0.1)
            if not ready:
                continue
            try:
                data = os.read(self.master, 65536)
            except OSError:
                return
            with self._lock:
                self.raw += data
                self._stream.feed(data)

    def lines(self):
        with self._lock:
            return [line.rstrip() for line in self.screen.display]

    def text(self):
        return "\n".join(self.lines())

    def written(self):
        with self._lock:
            return self.raw

    def type(self, keys):
        os.write(self.master, keys if isinstance(keys, bytes) else keys.encode())

    def resize(self, columns, rows):
        with self._lock:
            self.screen.resize(rows, columns)
        self._size(columns, rows)

    def shows(self, *parts, timeout=15.0):
        """Waits until all of these are on the screen."""
        def look():
            text = self.text()
            return all(part in text for part in parts)
        try:
            wait_until(look, f"{parts} on the screen", timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.text()}\nexit code {self.process.poll()}") from None
        return self.text()

    def hides(self, part, timeout=15.0):
        wait_until(lambda: part not in self.text(), f"no '{part}' on the screen", timeout)

    def signal(self, number):
        self.process.send_signal(number)

    def hang_up(self):
        """What a dropped connection does: the terminal goes away."""
        self._reading = False
        self._reader.join(5)
        os.close(self.slave)
        os.close(self.master)
        self.master = self.slave = None

    def wait(self, timeout=15.0):
        """The exit code."""
        code = self.process.wait(timeout)
        if self.master is not None:
            # What it wrote last.
            wait_until(lambda: not select.select([self.master], [], [], 0)[0], "the end of the output")
        return code

    def settings(self):
        return termios.tcgetattr(self.slave)

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(5)
        self._reading = False
        self._reader.join(5)
        for descriptor in (self.master, self.slave):
            if descriptor is not None:
                os.close(descriptor)
