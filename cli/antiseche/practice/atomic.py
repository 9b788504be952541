"""Replace one file at once: a kill or a full disk leaves the old file, never half of the new one."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from antiseche.errors import AnswersError, AntisecheError
from antiseche.i18n import N_, _
from antiseche.practice.staging import sync_directory

_FULL = N_("{path} : disque plein, rien n'a été changé. Libérez de la place puis relancez.")
_NO_FOLDER = N_("{path} : le dossier n'existe pas. Créez-le puis relancez.")
# What the person at the keyboard can put right: more room, another place, other rights.
_CORRECTABLE = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: _FULL,
    errno.EACCES: N_("{path} : écriture refusée. Vérifiez les droits du fichier et du dossier."),
    errno.EPERM: N_("{path} : écriture refusée. Vérifiez les droits du fichier et du dossier."),
    errno.EROFS: N_("{path} : ce disque est en lecture seule. Choisissez un autre dossier."),
    errno.ENOENT: _NO_FOLDER,
    errno.ENOTDIR: _NO_FOLDER,
    errno.ENAMETOOLONG: N_("{path} : nom trop long. Choisissez un nom plus court."),
    errno.EISDIR: N_("{path} : c'est un dossier, pas un fichier."),
    errno.EEXIST: N_("{path} : ce nom est déjà celui d'un fichier."),
}


_REASONS = {
    errno.ENOSPC: N_("disque plein"),
    errno.EDQUOT: N_("disque plein"),
    errno.EFBIG: N_("disque plein"),
    errno.EACCES: N_("droits insuffisants"),
    errno.EPERM: N_("droits insuffisants"),
    errno.EROFS: N_("disque en lecture seule"),
    errno.EIO: N_("disque défaillant"),
    errno.ENOENT: N_("fichier introuvable"),
    errno.ELOOP: N_("lien vers lui-même"),
}


def write_text(path: Path, text: str, mode: int = 0o600) -> None:
    """Write beside the file, flush, then rename over it.

    Raises:
        AnswersError: the place cannot be written; more room, another place or other rights would do.
        AntisecheError: the disk is failing.
    """
    write_bytes(path, text.encode("utf-8"), mode)


def write_bytes(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write beside the file, flush, then rename over it.

    Raises:
        AnswersError: the place cannot be written; more room, another place or other rights would do.
        AntisecheError: the disk is failing.
    """
    try:
        _replace(path, content, mode)
    except OSError as error:
        raise explained(error, path) from None


def make_folder(path: Path, mode: int = 0o700) -> None:
    """Create a folder and its parents where they are missing.

    Raises:
        AnswersError: the place cannot be written.
        AntisecheError: the disk is full or failing.
    """
    try:
        path.mkdir(mode=mode, parents=True, exist_ok=True)
    except OSError as error:
        raise explained(error, path) from None


def reason(error: OSError) -> str:
    """Return what the system refused in a few words."""
    return _(_REASONS[error.errno]) if error.errno in _REASONS else error.strerror or str(error)


def is_correctable(error: OSError) -> bool:
    """Say whether the person at the keyboard can put it right."""
    return error.errno in _CORRECTABLE


def explained(error: OSError, path: Path) -> AntisecheError:
    """Return what the system refused as one sentence."""
    sentence = _CORRECTABLE.get(error.errno or 0)
    if sentence is not None:
        return AnswersError(_(sentence).format(path=path))
    return AntisecheError(
        _("{path} : écriture impossible ({reason}), rien n'a été changé.").format(path=path, reason=reason(error))
    )


def _replace(path: Path, content: bytes, mode: int) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            _keep_owner(stream.fileno(), path)
            os.fchmod(stream.fileno(), mode)
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def _keep_owner(descriptor: int, path: Path) -> None:
    """Somebody's file stays theirs when root replaces it."""
    if os.geteuid() != 0 or not path.exists():
        return
    status = path.stat()
    os.fchown(descriptor, status.st_uid, status.st_gid)
