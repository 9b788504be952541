"""Progress of a playbook: one live line per host on a terminal, plain lines elsewhere. On stderr."""

from __future__ import annotations

import os
import shutil
import sys
import time
from typing import TextIO

from antiseche.engine.events import Event
from antiseche.engine.summary import HostStatus, HostSummary, RunSummary
from antiseche.engine.wording import task_text
from antiseche.i18n import _, n_

_REDRAW = 0.1


def state_words(*, check: bool) -> dict[HostStatus, str]:
    """Return what each state is called."""
    return {
        HostStatus.OK: _("à jour"),
        HostStatus.CHANGED: _("à modifier") if check else _("modifiée"),
        HostStatus.FAILED: _("échec"),
        HostStatus.UNREACHABLE: _("injoignable"),
        HostStatus.INTERRUPTED: _("interrompue"),
        HostStatus.NOT_STARTED: _("pas commencée"),
    }


def is_live(stream: TextIO) -> bool:
    """Say whether lines of this stream can be redrawn."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb")


def terminal_size(stream: TextIO) -> os.terminal_size:
    """Return the size of the terminal that a stream writes to: the standard output may be a file."""
    try:
        return os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        return shutil.get_terminal_size()


class Progress:
    """Shows events as they come."""

    def __init__(self, titles: dict[str, str], hosts: list[str], *, quiet: bool = False, stream: TextIO | None = None) -> None:
        self._titles = titles
        self._stream = stream or sys.stderr
        self._summary = RunSummary(hosts={name: HostSummary(name) for name in hosts})
        self._quiet = quiet
        self._live = is_live(self._stream) and len(hosts) < terminal_size(self._stream).lines - 1
        self._drawn = 0
        self._last = 0.0

    def update(self, event: Event) -> None:
        """Take an event into account and show it."""
        before = self._summary.hosts.get(event.host)
        role = before.role if before else ""
        self._summary.add(event)
        if self._quiet or not event.host:
            return
        host = self._summary.hosts[event.host]
        if not self._live:
            self._plain(host, event, role)
        elif time.monotonic() - self._last >= _REDRAW:
            self._draw()

    def close(self) -> None:
        """Draw the last state."""
        if self._live and not self._quiet and self._drawn:
            self._draw()

    def _plain(self, host: HostSummary, event: Event, previous_role: str) -> None:
        if event.event == "task_start" and event.role and event.role != previous_role:
            self._line(f"{host.name} : {self._titles.get(event.role, event.role)}")
        elif event.status == "failed":
            self._line(_("{host} : échec de « {task} »").format(host=host.name, task=task_text(event.task, event.role)))
        elif event.status == "unreachable":
            self._line(_("{host} : injoignable").format(host=host.name))

    def _line(self, text: str) -> None:
        self._write(text + "\n")

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            self._quiet = True  # the terminal is gone: that is no reason to stop half-way

    def _draw(self) -> None:
        columns = max(terminal_size(self._stream).columns, 2)
        width = max((len(name) for name in self._summary.hosts), default=0)
        lines = [f"\x1b[2K{self._describe(host, width)[: columns - 1]}\n" for host in self._summary.hosts.values()]
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        self._write(up + "".join(lines))
        self._drawn, self._last = len(lines), time.monotonic()

    def _describe(self, host: HostSummary, width: int) -> str:
        counts = n_("{n} tâche", "{n} tâches", host.tasks).format(n=host.tasks)
        if host.changes:
            counts += ", " + n_("{n} changement", "{n} changements", len(host.changes)).format(n=len(host.changes))
        if host.unreachable:
            now = _("injoignable")
        elif host.failures:
            now = _("échec")
        elif host.finished:
            now = _("terminé")
        elif host.role:
            now = self._titles.get(host.role, host.role)
        else:
            now = _("lecture de l'état") if host.task else _("en attente")
        return f"{host.name:<{width}}  {now:<32.32}  {counts}"
