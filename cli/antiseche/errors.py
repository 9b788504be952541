"""Errors meant for the person at the keyboard, and the exit codes they lead to.

Anything that is not an `AntisecheError` is a bug of ours and shows its traceback only
when ``ANTISECHE_DEBUG`` is set; `antiseche.app.main` is the single place that decides.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every command."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    NOT_CONFORMING = 3
    UNREACHABLE = 4
    TASK_FAILED = 5
    INTERRUPTED = 130


class AntisecheError(Exception):
    """A message for the user: what happened, where, and what to do. Never a traceback."""

    exit_code = ExitCode.FAILURE


class AnswersError(AntisecheError):
    """The answers file, an option or an argument is wrong; the user can correct it."""

    exit_code = ExitCode.USAGE


class MissingRequirementError(AntisecheError):
    """This machine lacks something a command needs (a tool, root, namespaces...)."""

    exit_code = ExitCode.FAILURE


class HostUnreachableError(AntisecheError):
    """At least one host did not answer."""

    exit_code = ExitCode.UNREACHABLE
