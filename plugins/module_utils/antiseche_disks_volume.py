# Copyright: the Antisèche authors. SPDX-License-Identifier: Apache-2.0
"""An encrypted volume: what it lacks, and each step that brings it there.

Every step may be cut by the power: the next run looks again and goes on, or stops with one sentence.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from ansible.module_utils.antiseche_disks_keys import PBKDF, add_recovery
from ansible.module_utils.antiseche_disks_read import (
    Device,
    DiskError,
    Header,
    checked,
    claimed_uuid,
    has_tpm,
    header,
    look,
    opening_slot,
    refusal,
    run,
    secret_file,
    signatures,
    tpm_opens,
)
from ansible.module_utils.antiseche_disks_say import N_, say
from ansible.module_utils.antiseche_disks_state import FORMATTING, MADE, Memory, read_table, tried, with_entry, write_whole

CRYPTTAB = Path("/etc/crypttab")
FSTAB = Path("/etc/fstab")
STATE = Path("/var/lib/antiseche/disks")
MAPPER = Path("/dev/mapper")
BY_UUID = Path("/dev/disk/by-uuid")
MOUNTS = Path("/proc/self/mounts")
PCRS = "7"
DEVICE_TIMEOUT = (
    "x-systemd.device-timeout=300s"  # with nofail nothing else waits for it: a slow machine finds its disk all the same
)
FIRST_SLOT = "0"  # the passphrase's
STEPS = ("encrypted", "recovery key", "TPM unlock", "opened", "file system", "crypttab", "fstab", "mounted")


@dataclass(frozen=True)
class Wanted:
    """A declared volume and its keys."""

    name: str
    device: str
    mount: str
    discard: bool
    uuid: str
    passphrase: str
    recovery_key: str

    def __repr__(self) -> str:
        return f"Wanted({self.name!r}, {self.device!r})"


class Volume:
    """One declared volume on this machine."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.label = f"volume {wanted.name}"
        self.memory = Memory(STATE, wanted.name)
        self.mapped = MAPPER / wanted.name
        self.device: Device | None = None
        self.header: Header | None = None
        self.observe()

    def observe(self) -> None:
        """Find the volume: by its own number first, since names of disks move."""
        own = look(str(BY_UUID / self.wanted.uuid))
        self.device = own or look(self.wanted.device)
        # A blank disk is told without cryptsetup, which check mode does not find on a machine that has nothing yet.
        self.header = header(self.device.real) if self.device and self.device.signatures else None
        if self.header and self.header.uuid != self.wanted.uuid:
            self.header = None

    @property
    def phase(self) -> str:
        """How far the making of this volume went, as far as it is remembered for this very disk."""
        return self.memory.phase(self.wanted.uuid, self.device.identity if self.device else None)

    def problem(self) -> str:
        """Return why nothing can be done; empty when something can."""
        wanted = self.wanted
        if self.device is None:
            return say(
                N_("{device} est introuvable : branchez le disque, ou corrigez data_disks dans les réponses"),
                device=wanted.device,
            )
        if self.header is None:
            return self._no_header(self.device)
        if not self.header.slots:
            if self.phase == FORMATTING:
                return ""
            return say(N_("le volume « {name} » n'a plus aucune clé : restaurez l'en-tête gardé au coffre"), name=wanted.name)
        if not self._tried() and opening_slot(self.device.real, wanted.passphrase) is None:
            return say(
                N_(
                    "le volume « {name} » ne s'ouvre pas avec la phrase du coffre : quelqu'un l'a changée, ou le "
                    "coffre n'est pas le bon ; rien n'y est touché"
                ),
                name=wanted.name,
            )
        return self._hidden_files()

    def _no_header(self, device: Device) -> str:
        name = self.wanted.name
        if self.memory.phase(self.wanted.uuid, None) == MADE:
            return say(
                N_(
                    "le volume « {name} » a déjà existé et son en-tête a disparu de {path} : restaurez-le depuis "
                    "le coffre ; s'il s'agit d'un disque neuf, donnez-lui un autre nom dans les réponses"
                ),
                name=name,
                path=device.path,
            )
        reason = refusal(device)
        # Our own luksFormat, cut before the header was whole: bytes that nobody recognises, or a torn header with our number.
        ours = not device.signatures or claimed_uuid(device.real) == self.wanted.uuid
        if reason and ours and not device.mounts and not device.holders and self.phase == FORMATTING:
            return ""
        return reason or self._hidden_files()

    def _hidden_files(self) -> str:
        folder = Path(self.wanted.mount)
        if self._mounted() or not folder.exists():
            return ""
        if not folder.is_dir() or any(folder.iterdir()):
            return say(
                N_("{folder} contient déjà des fichiers, que le volume « {name} » cacherait : déplacez-les d'abord"),
                folder=folder,
                name=self.wanted.name,
            )
        return ""

    # What is missing

    def missing(self) -> list[str]:
        """Return the steps that are still to do, in order."""
        return [step for step in STEPS if not self._has(step)]

    def _has(self, step: str) -> bool:
        whole = self.header is not None and bool(self.header.slots)
        if step == "encrypted":
            return whole
        if step == "TPM unlock" and not has_tpm():
            return True
        if step == "crypttab":
            return self._table(CRYPTTAB) == read_table(CRYPTTAB)
        if step == "fstab":
            return self._table(FSTAB) == read_table(FSTAB)
        if not whole or self.device is None or self.header is None:
            return False
        if step == "recovery key":
            return bool(self.header.tokens("systemd-recovery")) and self._keys_good(self.header, self.device)
        if step == "TPM unlock":
            return bool(self.header.tokens("systemd-tpm2")) and tpm_opens(self.device.real)
        if step == "opened":
            return self._open()
        if step == "file system":
            return self.phase != FORMATTING
        return self._mounted()

    def _tried(self) -> bool:
        mark = tried(self.header.digest, self.wanted.passphrase, self.wanted.recovery_key) if self.header else ""
        return bool(mark) and self.memory.values.get("tried") == mark

    def _keys_good(self, found: Header, device: Device) -> bool:
        """Say whether passphrase and recovery key open the volume; tried once for each state of the header."""
        if self._tried():
            return True
        return (
            opening_slot(device.real, self.wanted.recovery_key) in found.slots_of("systemd-recovery")
            and opening_slot(device.real, self.wanted.passphrase) is not None
        )

    def _open(self) -> bool:
        """Say whether the mapping of that name is this volume's."""
        if not self.mapped.exists():
            return False
        number = self.mapped.resolve().name
        with contextlib.suppress(OSError):
            known = Path(f"/sys/block/{number}/dm/uuid").read_text(encoding="ascii")
            if known.startswith(f"CRYPT-LUKS2-{self.wanted.uuid.replace('-', '')}-"):
                return True
        raise DiskError(
            say(
                N_("{mapped} existe déjà et n'est pas le volume « {name} » : donnez-lui un autre nom"),
                mapped=self.mapped,
                name=self.wanted.name,
            )
        )

    def _mounted(self) -> bool:
        source = os.path.realpath(self.mapped)
        for line in MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
            fields = line.split()
            if fields[1] == self.wanted.mount:
                if os.path.realpath(fields[0]) == source:
                    return True
                raise DiskError(
                    say(
                        N_("{mount} sert déjà à {other} : choisissez un autre point de montage"),
                        mount=self.wanted.mount,
                        other=fields[0],
                    )
                )
        return False

    def _table(self, path: Path) -> str:
        wanted = self.wanted
        try:
            if path is CRYPTTAB:
                words = ["luks", "nofail", DEVICE_TIMEOUT]
                # Headless: where the TPM fails, the start goes on without a question that nobody may be there to answer.
                words += ["tpm2-device=auto", "headless=true"] if has_tpm() else []
                words += ["discard"] if wanted.discard else []
                line = f"{wanted.name} UUID={wanted.uuid} none {','.join(words)}"
                return with_entry(read_table(path), 0, wanted.name, line)
            options = f"defaults,nodev,nosuid,nofail,{DEVICE_TIMEOUT}"
            return with_entry(read_table(path), 1, wanted.mount, f"{self.mapped} {wanted.mount} ext4 {options} 0 2")
        except ValueError as error:
            raise DiskError(say(N_("{path} : {error} ; corrigez le fichier à la main"), path=path, error=error)) from error

    # The steps

    def do(self, step: str) -> None:
        """Do one step, and see that it holds.

        Raises:
            DiskError: it failed; the next run goes on from here.
        """
        actions = {
            "encrypted": self._encrypt,
            "recovery key": self._add_recovery,
            "TPM unlock": self._enrol_tpm,
            "opened": self._activate,
            "file system": self._make_file_system,
            "crypttab": lambda: write_whole(CRYPTTAB, self._table(CRYPTTAB), 0o644),
            "fstab": lambda: write_whole(FSTAB, self._table(FSTAB), 0o644),
            "mounted": self._mount,
        }
        actions[step]()
        self.observe()

    def _target(self) -> Device:
        if self.device is None:
            raise DiskError(say(N_("{device} a disparu pendant le travail"), device=self.wanted.device))
        return self.device

    def _encrypt(self) -> None:
        device, wanted = self._target(), self.wanted
        # Before the first byte: what is found half made later is known to be ours.
        self.memory.remember(phase=FORMATTING, uuid=wanted.uuid, identity=device.identity, tried="")
        with secret_file(wanted.passphrase) as (key, descriptor):
            checked(
                *("cryptsetup", "luksFormat", "--batch-mode", "--type", "luks2", *PBKDF, "--cipher", "aes-xts-plain64"),
                *("--key-size", "512", "--hash", "sha256", "--uuid", wanted.uuid, "--label", f"antiseche-{wanted.name}"[:47]),
                *("--key-slot", FIRST_SLOT, "--key-file", key, device.real),
                fds=[descriptor],
            )
        run("udevadm", "settle", "--timeout=30")
        if opening_slot(device.real, wanted.passphrase) is None:
            raise DiskError(say(N_("le volume « {name} » ne s'ouvre pas après son chiffrement"), name=wanted.name))

    def _add_recovery(self) -> None:
        device, wanted = self._target(), self.wanted
        self._drop_orphans()
        slot = add_recovery(device.real, wanted.passphrase, wanted.recovery_key)
        found = header(device.real)
        if found is None or slot not in found.slots_of("systemd-recovery"):
            raise DiskError(say(N_("la clé de secours du volume « {name} » n'a pas pu être inscrite"), name=wanted.name))
        self._try_both(found)

    def _try_both(self, found: Header) -> None:
        """Try both keys against a header that has just changed, and remember that they were.

        Raises:
            DiskError: one of them does not open the volume.
        """
        device, wanted = self._target(), self.wanted
        slots = [*found.slots_of("systemd-recovery"), ""]
        if all(opening_slot(device.real, wanted.recovery_key, slot) is None for slot in slots):
            raise DiskError(say(N_("le volume « {name} » ne s'ouvre plus avec la clé de secours du coffre"), name=wanted.name))
        slots = [FIRST_SLOT, ""] if FIRST_SLOT in found.slots else [""]
        if all(opening_slot(device.real, wanted.passphrase, slot) is None for slot in slots):
            raise DiskError(say(N_("le volume « {name} » ne s'ouvre plus avec la phrase du coffre"), name=wanted.name))
        self.memory.remember(tried=tried(found.digest, wanted.passphrase, wanted.recovery_key))

    def _drop_orphans(self) -> None:
        """Free slots that an enrolment left when the power went: nobody knows their key. Only while nothing is stored yet."""
        if self.phase != FORMATTING or self.header is None or len(self.header.loose) <= 1:  # the passphrase's
            return
        device, wanted = self._target(), self.wanted
        keys = (wanted.passphrase, wanted.recovery_key)
        for slot in self.header.loose:
            if all(opening_slot(device.real, key, slot) is None for key in keys):
                with secret_file(wanted.passphrase) as (key, descriptor):
                    checked("cryptsetup", "luksKillSlot", "--batch-mode", "--key-file", key, device.real, slot, fds=[descriptor])

    def _enrol_tpm(self) -> None:
        device, wanted = self._target(), self.wanted
        self._drop_orphans()
        # On its own: systemd-cryptenroll sees a binding to the same measurements, even to a TPM that is gone, and does nothing.
        checked("systemd-cryptenroll", "--wipe-slot=tpm2", device.real)
        with secret_file(wanted.passphrase) as (key, descriptor):
            checked(
                "systemd-cryptenroll", f"--unlock-key-file={key}", "--tpm2-device=auto",
                f"--tpm2-pcrs={PCRS}", device.real, fds=[descriptor],
            )  # fmt: skip
        if not tpm_opens(device.real):
            raise DiskError(say(N_("la puce TPM n'ouvre pas le volume « {name} » qu'on vient de lui confier"), name=wanted.name))
        found = header(device.real)
        if found is not None:
            self._try_both(found)

    def _activate(self) -> None:
        words = ["--allow-discards"] if self.wanted.discard else []
        with secret_file(self.wanted.passphrase) as (key, descriptor):
            checked(
                "cryptsetup", "open", "--type", "luks2", "--disable-external-tokens", *words, "--key-file", key,
                self._target().real, self.wanted.name, fds=[descriptor],
            )  # fmt: skip
        run("udevadm", "settle", "--timeout=30")
        if self.phase != FORMATTING and not signatures(str(self.mapped)):
            run("cryptsetup", "close", self.wanted.name)
            raise DiskError(
                say(
                    N_(
                        "le volume « {name} » s'ouvre, mais ne contient plus de système de fichiers : rien n'y est "
                        "écrit, restaurez une sauvegarde"
                    ),
                    name=self.wanted.name,
                )
            )

    def _make_file_system(self) -> None:
        """Make the file system, unless a whole one or one that was ever in use is there."""
        target = str(self.mapped)
        if not self._complete(target):
            checked("mkfs.ext4", "-q", "-F", "-L", self.wanted.name[:16], target, seconds=3600)
        os.sync()
        self.memory.remember(phase=MADE)

    def _complete(self, target: str) -> bool:
        if not signatures(target):
            return False
        described = run("dumpe2fs", "-h", target)
        used = described.returncode == 0 and "Last mount time:          n/a" not in described.stdout
        whole = run("e2fsck", "-f", "-n", target, seconds=3600).returncode == 0
        if used and not whole:
            raise DiskError(
                say(
                    N_("le système de fichiers de « {name} » a servi et il est abîmé : vérifiez-le (e2fsck)"),
                    name=self.wanted.name,
                )
            )
        return whole

    def _mount(self) -> None:
        Path(self.wanted.mount).mkdir(parents=True, exist_ok=True)
        run("systemctl", "daemon-reload")
        checked("mount", self.wanted.mount)
