"""Replace one file at once: a kill or a full disk leaves the old file, never half of the new one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from antiseche.practice.staging import sync_directory


def write_text(path: Path, text: str, mode: int = 0o600) -> None:
    """Write beside the file, flush, then rename over it."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            os.fchmod(stream.fileno(), mode)
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_directory(path.parent)
