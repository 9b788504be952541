"""The public keys of the person at the keyboard: proposed, or read from the files that are named."""

from __future__ import annotations

from pathlib import Path

_NAMES = ("id_ed25519.pub", "id_ed25519_sk.pub")
_MAX_BYTES = 8192


def proposed() -> list[str] | None:
    """Return the usual key of this person, if there is one."""
    for name in _NAMES:
        line = _line(Path.home() / ".ssh" / name)
        if line:
            return [line]
    return None


def from_files(typed: str) -> str:
    """Return what was typed, or the key that stands in the file it names: a path is quicker than a key to type."""
    if not typed.endswith(".pub") or " " in typed:
        return typed
    try:
        return _line(Path(typed).expanduser()) or typed
    except RuntimeError:  # a ~name of nobody
        return typed


def _line(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return stream.read(_MAX_BYTES).decode().strip()
    except (OSError, UnicodeDecodeError):
        return ""
