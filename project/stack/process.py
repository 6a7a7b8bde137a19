"""One process: its log, its readiness, its end."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType

TAIL_LINES = 20
POLL = 0.05


class ProcessDied(RuntimeError):
    """A process that should be running has ended, or never got ready; the message holds its log's end."""


class Process:
    """A process in a session of its own: Ctrl-C in the terminal reaches only us, who stop it in our order."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        ready: Callable[[Process], bool] = lambda process: True,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        self.command = [str(part) for part in command]
        self.log = log
        self.env = env
        self.cwd = cwd
        self._ready = ready
        self._popen: subprocess.Popen[bytes] | None = None
        self._log_start = 0
        self._stopping = False

    @property
    def pid(self) -> int:
        if self._popen is None:
            raise ProcessDied(f"{self.name} has not been started.")
        return self._popen.pid

    @property
    def running(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    @property
    def returncode(self) -> int | None:
        return self._popen.poll() if self._popen else None

    @property
    def died(self) -> bool:
        """Whether it has ended without being asked to."""
        return self.returncode is not None and not self._stopping

    def start(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._stopping = False
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self._popen = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.env,
                cwd=self.cwd,
                start_new_session=True,
            )
        atexit.register(self.kill)

    def wait_ready(self, timeout: float = 30) -> None:
        """Wait until the process does its work; raise ProcessDied if it ends or takes longer."""
        deadline = time.monotonic() + timeout
        while not self._ready(self):
            self.check()
            if time.monotonic() > deadline:
                raise ProcessDied(f"{self.name} was not ready after {timeout:.0f} s.\n{self.tail()}")
            time.sleep(POLL)
        self.check()

    def check(self) -> None:
        """Raise ProcessDied unless the process runs."""
        if not self.running:
            raise ProcessDied(f"{self.name} ended with exit code {self.returncode}.\n{self.tail()}")

    def wait(self, timeout: float = 30) -> int:
        """Wait until it has ended by itself, and return its exit code; raise ProcessDied if it goes on."""
        self._stopping = True
        try:
            return self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise ProcessDied(f"{self.name} has not ended after {timeout:.0f} s.\n{self.tail()}") from None

    def stop(self, timeout: float = 10) -> int | None:
        """Ask it to end (SIGTERM); after `timeout` seconds end it, and whatever it started, by force."""
        self._stopping = True
        if self.running:
            self.signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(timeout)
        self.kill()
        return self.returncode

    def kill(self) -> None:
        """End it, and whatever it started, at once."""
        atexit.unregister(self.kill)
        if self._popen is None:
            return
        self._stopping = True
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def output(self) -> str:
        """What it has written since it was last started."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def tail(self, lines: int = TAIL_LINES) -> str:
        """The last lines of its log, for an error message."""
        last = "\n".join(f"    {line}" for line in self.output().splitlines()[-lines:])
        return f"The end of {self.log}:\n{last or '    (nothing)'}"


def says(text: str) -> Callable[[Process], bool]:
    """Return a test of readiness: the process has written `text`."""
    return lambda process: text in process.output()


def exit_on_signals() -> None:
    """Let SIGTERM and SIGHUP end this process as Ctrl-C does: through the context managers that clean up."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _exit)


def _exit(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)
