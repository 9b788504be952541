"""Progress of a playbook: one live line per host on a terminal, plain lines elsewhere. On stderr."""

from __future__ import annotations

import sys
from typing import TextIO

from antiseche.commands.screen import Screen
from antiseche.engine.events import Event
from antiseche.engine.summary import HostStatus, HostSummary, RunSummary
from antiseche.engine.wording import task_text
from antiseche.i18n import _, n_


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


class Progress:
    """Shows events as they come."""

    def __init__(self, titles: dict[str, str], hosts: list[str], *, quiet: bool = False, stream: TextIO | None = None) -> None:
        self._titles = titles
        self.screen = Screen(stream or sys.stderr, len(hosts))
        self._summary = RunSummary(hosts={name: HostSummary(name) for name in hosts})
        self._quiet = quiet
        self._begun = False

    def update(self, event: Event) -> None:
        """Take an event into account and show it."""
        before = self._summary.hosts.get(event.host)
        role = before.role if before else ""
        self._summary.add(event)
        if self._quiet or not event.host:
            return
        host = self._summary.hosts[event.host]
        if not self.screen.live:
            self._plain(host, event, role)
        elif self.screen.due:
            self._draw()

    def close(self) -> None:
        """Draw the last state."""
        if self.screen.live and self._begun:
            self._draw()

    def _plain(self, host: HostSummary, event: Event, previous_role: str) -> None:
        if event.event == "task_start" and event.role and event.role != previous_role:
            self.screen.say(f"{host.name} : {self._titles.get(event.role, event.role)}")
        elif event.status == "failed":
            self.screen.say(_("{host} : échec de « {task} »").format(host=host.name, task=task_text(event.task, event.role)))
        elif event.status == "unreachable":
            self.screen.say(_("{host} : injoignable").format(host=host.name))

    def _draw(self) -> None:
        width = max((len(name) for name in self._summary.hosts), default=0)
        self.screen.draw([self._describe(host, width) for host in self._summary.hosts.values()])
        self._begun = True

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
