# Copyright: the Antisèche authors. SPDX-License-Identifier: Apache-2.0
"""Clear swap turned into swap with a random key at each start: each step, and what is refused.

The order is such that a machine whose power goes in between starts, at worst without swap, and never opens with a random key what
was not known to be a swap area.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import struct
from pathlib import Path
from typing import Any

from ansible.module_utils import antiseche_disks_boot as boot
from ansible.module_utils.antiseche_disks_read import DiskError, checked, run, signatures
from ansible.module_utils.antiseche_disks_say import N_, say
from ansible.module_utils.antiseche_disks_state import MADE, Memory, read_table, with_entry, write_whole
from ansible.module_utils.antiseche_disks_swap_places import (
    Place,
    active,
    fstab_without,
    hibernation,
    resumes_from,
    without_resume,
)
from ansible.module_utils.antiseche_disks_volume import CRYPTTAB, DEVICE_TIMEOUT, FSTAB, MAPPER

CONVERTING = "converting"
STEPS = ("hibernation off", "swap off", "fstab", "old contents overwritten", "crypttab", "swap on", "boot image")
OPTIONS = f"swap,cipher=aes-xts-plain64,size=512,nofail,{DEVICE_TIMEOUT}"
SLEEP = Path("/etc/systemd/sleep.conf.d/antiseche.conf")
NO_HIBERNATION = """# Written whole by Antisèche, role disk_encryption: swap has a new key at each start.
[Sleep]
AllowHibernation=no
AllowSuspendThenHibernate=no
AllowHybridSleep=no
"""
_BLKZEROOUT = 0x127F  # linux/fs.h
_CHUNK = 4 * 1024 * 1024
_HOUR = 3600


class Swap:
    """One swap area: a partition, a whole disk, a logical volume or a file."""

    def __init__(self, place: Place, memory: Memory, *, first: bool = True) -> None:
        self.place = place
        self.first = first  # what concerns the whole machine is done, and predicted, once
        self.memory = memory
        self.name = memory.path.stem
        self.label = f"swap {place.path}"
        self.mapped = MAPPER / self.name

    @property
    def phase(self) -> str:
        """How far it went, as far as it is remembered for this very place."""
        return str(self.memory.values.get("phase", "")) if self.memory.values.get("source") == self.place.source else ""

    def problem(self) -> str:
        """Return why nothing can be done."""
        if not self.missing():
            return ""
        path = self.place.path
        if where := hibernation(self.place.real):
            return say(
                N_(
                    "cette machine est réglée pour la veille prolongée ({where}), que l'échange à clé tirée à chaque démarrage "
                    "rend impossible : retirez ce réglage et redémarrez, ou retirez « encrypted_swap » des réponses"
                ),
                where=where,
            )
        if not self.place.source:
            return say(N_("{path} n'a pas de nom qui reste d'un démarrage à l'autre : rien n'y est touché"), path=path)
        if not Path(self.place.real).exists():
            return say(N_("la zone d'échange {path} est introuvable : branchez le disque"), path=path)
        return "" if self._open() else self._other_contents()

    def _other_contents(self) -> str:
        kinds = {kind for kind, _usage in signatures(self.place.real)}
        # Ours, cut while it was overwritten: nothing is there any more.
        if kinds == {"swap"} or (not kinds and self.phase):
            return ""
        what = ", ".join(sorted(kinds)) or "?"
        return say(
            N_("{path} n'est pas une zone d'échange (porte : {what}) : rien n'y est touché, corrigez /etc/fstab"),
            path=self.place.path,
            what=what,
        )

    def missing(self) -> list[str]:
        """Return the steps that are still to do, in order."""
        return [step for step in STEPS if not self._has(step)]

    def _has(self, step: str) -> bool:
        if step == "hibernation off":
            told = not self.first or read_table(SLEEP) == NO_HIBERNATION
            return told and not resumes_from(self.place.real)
        if step == "swap off":
            return self.place.real not in active()
        if step == "fstab":
            return self._fstab() == read_table(FSTAB)
        if step == "crypttab":
            return self._crypttab() == read_table(CRYPTTAB)
        if step == "old contents overwritten":
            return self.phase == MADE
        if step == "boot image":
            return not boot.supported() or (not self._stale() and self._image_is_fresh())
        return self._open() and os.path.realpath(self.mapped) in active()

    def _stale(self) -> bool:
        """Say whether the images were told to resume from the area, and were not made anew since."""
        return bool(self.memory.values.get("stale")) or bool(resumes_from(self.place.real))

    def _image_is_fresh(self) -> bool:
        return self.memory.values.get("boot") == boot.mark() or not boot.chose_resume()

    def _no_hibernation(self) -> None:
        """A memory written to such swap is lost. First of all: once the area is overwritten, its name means nothing any more."""
        write_whole(SLEEP, NO_HIBERNATION, 0o644)
        SLEEP.parent.chmod(0o755)
        for path in resumes_from(self.place.real):
            self.memory.remember(stale=True)
            write_whole(path, without_resume(read_table(path)), 0o644)

    def _fstab(self) -> str:
        line = f"{self.mapped} none swap sw,nofail,{DEVICE_TIMEOUT} 0 0"
        return with_entry(fstab_without(read_table(FSTAB), self.place.real, line), 0, str(self.mapped), line)

    def _crypttab(self) -> str:
        return with_entry(read_table(CRYPTTAB), 0, self.name, f"{self.name} {self.place.source} /dev/urandom {OPTIONS}")

    def _open(self) -> bool:
        """Say whether the mapping of that name stands, on this place.

        Raises:
            DiskError: it stands on something else.
        """
        if not self.mapped.exists():
            return False
        status = run("cryptsetup", "status", self.name).stdout
        words = [line.split()[1] for line in status.splitlines() if line.split()[:1] in (["device:"], ["loop:"])]
        if self.place.real in {os.path.realpath(word) for word in words}:
            return True
        raise DiskError(
            say(N_("{mapped} existe déjà et n'est pas la zone d'échange {path}"), mapped=self.mapped, path=self.place.path)
        )

    def do(self, step: str) -> None:
        """Do one step."""
        if not self.phase:
            # Before anything changes: what is found overwritten later is known to be ours.
            self.memory.remember(phase=CONVERTING, source=self.place.source, path=self.place.path)
        actions: dict[str, Any] = {
            "hibernation off": self._no_hibernation,
            "swap off": lambda: checked("swapoff", self.place.real, seconds=_HOUR),
            "fstab": lambda: write_whole(FSTAB, self._fstab(), 0o644),
            "old contents overwritten": self._overwrite,
            "crypttab": lambda: write_whole(CRYPTTAB, self._crypttab(), 0o644),
            "swap on": self._activate,
            "boot image": self._rebuild,
        }
        actions[step]()

    def _overwrite(self) -> None:
        """Leave nothing of what was swapped out in the clear; the area is looked at once more, and must be free."""
        if reason := self._other_contents():
            raise DiskError(reason)
        block = stat.S_ISBLK(Path(self.place.real).stat().st_mode)
        try:
            descriptor = os.open(self.place.real, os.O_RDWR | os.O_CLOEXEC | (os.O_EXCL if block else 0))
        except OSError as error:
            raise DiskError(say(N_("{path} est en service : rien n'y est touché"), path=self.place.path)) from error
        try:
            _zero(descriptor, block=block)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self.memory.remember(phase=MADE)

    def _activate(self) -> None:
        checked("systemctl", "daemon-reload")
        checked("systemctl", "start", f"systemd-cryptsetup@{self.name}.service")
        run("udevadm", "settle", "--timeout=30")
        if os.path.realpath(self.mapped) not in active():
            checked("swapon", str(self.mapped))

    def _rebuild(self) -> None:
        """Make the start forget the old area, which it may wait for as for an image of hibernation."""
        boot.rebuild()
        self.memory.remember(boot=boot.mark(), stale=False)

    def settle(self) -> None:
        """Remember which images were seen not to wait for the area, so that they are unpacked again only once they change."""
        if boot.supported() and self.memory.values.get("boot") != boot.mark():
            self.memory.remember(boot=boot.mark())


def _zero(descriptor: int, *, block: bool) -> None:
    size = os.lseek(descriptor, 0, os.SEEK_END)
    if block:
        with contextlib.suppress(OSError):
            fcntl.ioctl(descriptor, _BLKZEROOUT, struct.pack("QQ", 0, size))
            return
    os.lseek(descriptor, 0, os.SEEK_SET)
    left, zeros = size, bytes(_CHUNK)
    while left > 0:
        left -= os.write(descriptor, zeros[: min(left, _CHUNK)])
