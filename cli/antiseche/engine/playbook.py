"""The real engine: ``ansible-playbook`` as a subprocess, followed through its event file."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

from antiseche.engine import events
from antiseche.engine.environment import SOCKETS, environment, sockets_directory
from antiseche.engine.events import EVENTS_NAME, Event
from antiseche.engine.identities import ssh_options
from antiseche.engine.locking import PracticeLock
from antiseche.engine.spec import Outcome, RunSpec
from antiseche.kit import kit_dir

LOG_NAME = "ansible.log"
_POLL = 0.03
# Ansible answers SIGINT in 0.2 s; a host that hangs may hold it longer.
_GRACE = 20.0
# Python can lose a KeyboardInterrupt: one raised while an object is finalised is only printed. A task that starts later than this
# after the request, in seconds, shows that it was lost.
_HEEDED = 0.5


class Stop:
    """How others ask a run to end: once politely, twice at once. Safe to call from a signal handler."""

    def __init__(self, on_request: Callable[[int], None] | None = None) -> None:
        self._on_request = on_request
        self.requests = 0

    def request(self) -> None:
        """Ask for the end; the second time, kill."""
        self.requests += 1
        if self._on_request is not None:
            self._on_request(self.requests)


class PlaybookEngine:
    """Runs a playbook of the kit. The process outlives this one if this one is killed."""

    def __init__(self, *, kit: Path | None = None, stop: Stop | None = None, lock: PracticeLock | None = None) -> None:
        self._kit = kit or kit_dir()
        self._lock = lock
        self.stop = stop or Stop()
        self.outcome = Outcome()

    def run(self, spec: RunSpec, directory: Path) -> Generator[Event]:
        """Run the playbook and yield its events as they happen; closing the generator ends the playbook."""
        tail = events.Tail(directory / EVENTS_NAME)
        with self._start(spec, directory) as process:
            if self._lock is not None:
                self._lock.describe(playbook=process.pid)
            try:
                yield from self._follow(process, tail)
            except BaseException:
                self._end(process)
                raise
            finally:
                if self.stop.requests or (process.returncode or 0) < 0:
                    _sweep(spec)
        yield from tail.new_events()
        self.outcome = Outcome(process.returncode, interrupted=self.stop.requests > 0)

    def _follow(self, process: subprocess.Popen[bytes], tail: events.Tail) -> Iterator[Event]:
        handled, deadline, asked = 0, float("inf"), ""
        while process.poll() is None:
            for event in tail.new_events():
                if asked and event.event == "task_start" and event.time > asked:
                    self._signal(process, signal.SIGINT)
                    asked = events.now(_HEEDED)
                yield event
            wanted = self.stop.requests
            if wanted > handled:
                self._signal(process, signal.SIGINT if wanted == 1 else signal.SIGKILL)
                handled, deadline, asked = wanted, time.monotonic() + _GRACE, events.now(_HEEDED)
            elif time.monotonic() > deadline:
                self._signal(process, signal.SIGKILL)
            time.sleep(_POLL)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """End the run cleanly when its reader gives up, rather than leave it alone."""
        self.stop.requests += 1
        self._signal(process, signal.SIGINT)
        deadline = time.monotonic() + _GRACE
        while process.poll() is None and time.monotonic() < deadline and self.stop.requests < 2:
            time.sleep(_POLL)
        if process.poll() is None:
            self._signal(process, signal.SIGKILL)

    def _start(self, spec: RunSpec, directory: Path) -> subprocess.Popen[bytes]:
        log = os.open(directory / LOG_NAME, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        secret = spec.vault_password
        try:
            process = subprocess.Popen(
                command(spec, self._kit),
                cwd=self._kit,
                env=environment(spec, self._kit, directory),
                stdin=subprocess.PIPE if secret is not None else subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A terminal's Ctrl-C must reach this process only: it decides what to forward.
                start_new_session=True,
                pass_fds=(self._lock.descriptor,) if self._lock else (),
            )
        finally:
            os.close(log)
        if secret is not None and process.stdin is not None:
            try:
                process.stdin.write(secret + b"\n")
                process.stdin.close()
            except BrokenPipeError:
                pass  # it ended before reading; its return code says why
        return process

    @staticmethod
    def _signal(process: subprocess.Popen[bytes], number: int) -> None:
        # Ansible's workers lead process groups of their own: killing the parent would orphan them.
        targets = _descendants(process.pid) if number == signal.SIGKILL else []
        for pid in (process.pid, *targets):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def _sweep(spec: RunSpec) -> None:
    """End what an interrupted run leaves: connections kept open for the next task, workers whose parent is gone.

    They are known by the folder of their sockets, which only this practice's runs use; its lock is held.
    """
    mark = f"{SOCKETS}={sockets_directory(spec.folder.root)}".encode()
    for path in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if path.name.isdecimal() and mark in (path / "environ").read_bytes().split(b"\0"):
                os.kill(int(path.name), signal.SIGKILL)


def _descendants(pid: int) -> list[int]:
    """Return the processes below one, whatever group or session they moved to."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, path.read_text().split()):
                found += [child, *_descendants(child)]
    return found


def command(spec: RunSpec, kit: Path) -> list[str]:
    """Return the command line. Never a secret in it: everyone on the machine can read it."""
    # The module rather than the script: pipx puts no script of a dependency on PATH. -P keeps the
    # working directory out of the module path.
    line = [sys.executable, "-P", "-m", "ansible", "playbook", "--inventory", str(spec.folder.hosts_file)]
    if spec.limit:
        line += ["--limit", ",".join(spec.limit)]
    if spec.check:
        line.append("--check")
    if spec.diff:
        line.append("--diff")
    if spec.vault_password is not None:
        line += ["--vault-password-file", "/dev/stdin"]
    if spec.identities:
        line.append(f"--ssh-extra-args={shlex.join(ssh_options(spec.identities))}")
    variables = dict(spec.extra_vars)
    if spec.roles:
        variables["antiseche_only_roles"] = list(spec.roles)
    if variables:
        line += ["--extra-vars", json.dumps(variables)]
    playbook = Path(spec.playbook)
    return [*line, str(playbook if playbook.is_absolute() else kit / "playbooks" / playbook)]
