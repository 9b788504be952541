"""The way in for commands: run a playbook over a practice, record it, say what happened."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from types import FrameType

from antiseche.engine import events, records
from antiseche.engine.events import EVENTS_NAME, Event
from antiseche.engine.locking import PracticeLock, practice_lock
from antiseche.engine.playbook import LOG_NAME, PlaybookEngine, Stop
from antiseche.engine.records import Run
from antiseche.engine.redact import redact
from antiseche.engine.scope import inventory_hosts
from antiseche.engine.spec import Engine, RunSpec
from antiseche.engine.summary import RunSummary
from antiseche.errors import ExitCode
from antiseche.i18n import _

OnEvent = Callable[[Event], None]


def run_playbook(
    spec: RunSpec,
    on_event: OnEvent | None = None,
    *,
    run: Run | None = None,
    lock: PracticeLock | None = None,
    stop: Stop | None = None,
    engine: Engine | None = None,
) -> tuple[Run, RunSummary]:
    """Run a playbook, record it under ``runs/``, and return the record and the summary.

    Ctrl-C and SIGTERM are forwarded to the playbook when called from the main thread; elsewhere the
    caller keeps ``stop`` and calls ``stop.request()``. Nothing is raised for hosts that fail or cannot be
    reached: ``summary.exit_code()`` tells.

    Args:
        spec: what to run.
        on_event: called for each event, as it happens.
        run: an existing run to write into (its caller finishes it); None creates and finishes one.
        lock: the practice's lock, if the caller already holds it.
        stop: how others ask for the end.
        engine: another engine, for tests.

    Raises:
        AntisecheError: the practice is busy, or its inventory is missing.
    """
    expected = list(spec.limit) or inventory_hosts(spec.folder)
    stop = stop or Stop()
    with practice_lock(spec.folder) if lock is None else nullcontext(lock) as held:
        if lock is None:
            records.close_unfinished(spec.folder, but=run)
        own = run or records.create_run(
            spec.folder, spec.kind, expected=expected, parent=spec.parent, check=spec.check, roles=list(spec.roles)
        )
        held.describe(run_id=own.id)
        events.append(
            own.dir / EVENTS_NAME, "run_start", kind=spec.kind, check=spec.check, hosts=expected, roles=list(spec.roles)
        )
        used = engine or PlaybookEngine(stop=stop, lock=held)
        summary = RunSummary()
        summary.add(Event("run_start", data={"hosts": expected}))
        try:
            with forwarded(stop), contextlib.closing(used.run(spec, own.dir)) as stream:
                for event in stream:
                    if event.event == "run_start":
                        continue
                    summary.add(event)
                    if on_event is not None:
                        on_event(event)
        except BaseException:
            _close(own, summary, None, interrupted=True, finish=run is None)
            raise
        _close(own, summary, used.outcome.rc, interrupted=used.outcome.interrupted and not summary.complete, finish=run is None)
    return own, summary


def _close(own: Run, summary: RunSummary, rc: int | None, *, interrupted: bool, finish: bool) -> None:
    """Decide how the run ended, and record it unless its caller does."""
    summary.close(interrupted=interrupted)
    if not interrupted and (not summary.complete or (rc != 0 and summary.exit_code() is ExitCode.OK)):
        summary.error = _reason(own, rc)
    if finish:
        own.finish(summary, rc)


def _reason(run: Run, rc: int | None) -> str:
    """Return what Ansible said when it did not go to its end; its log keeps the rest."""
    path = run.dir / LOG_NAME
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    errors = [line for line in lines if line.startswith(("[ERROR]", "ERROR!", "fatal:"))]
    if errors:
        said = errors[0]
    elif rc is not None and rc < 0:
        said = _("arrêté par le signal {n}").format(n=-rc)
    else:
        said = next((line for line in reversed(lines) if line.strip()), "?")
    return _("Ansible s'est arrêté avant la fin : {reason} (détail : {path})").format(reason=redact(said), path=path)


@contextlib.contextmanager
def forwarded(stop: Stop) -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into requests to stop, while a playbook runs."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(_number: int, _frame: FrameType | None) -> None:
        stop.request()

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
