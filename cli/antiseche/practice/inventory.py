"""The Ansible inventory of a practice: rendered from the answers, written in one step.

Everything under ``inventory/`` is generated except the secrets: a vault file is created once,
gains logins, and is never regenerated; when its host goes, it moves to ``removed/``.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from antiseche.errors import AnswersError, AntisecheError
from antiseche.i18n import _
from antiseche.practice import atomic, backup_secrets, staging
from antiseche.practice.folder import PracticeFolder
from antiseche.practice.inventory_vars import (
    active_logins,
    check_consistency,
    common_variables,
    host_groups,
    host_variables,
)
from antiseche.practice.inventory_yaml import to_yaml
from antiseche.practice.schema import Host, Practice, System

if TYPE_CHECKING:
    from antiseche.practice.secrets import Vault

STATE_NAME = ".antiseche.json"  # hidden: Ansible ignores it when it is given the whole directory
_STATE_VERSION = 1
_COMMON = "group_vars/all/main.yml"

PasswordSource = Callable[[bool], bytes]
"""Gives the vault password; True when a vault is about to be created (confirm it)."""


@dataclass
class InventoryReport:
    """What building changed, or would change."""

    practice: str
    digest: str
    hosts: list[str]
    changed: list[str] = field(default_factory=list)
    removed_hosts: list[str] = field(default_factory=list)
    new_secrets: dict[str, list[str]] = field(default_factory=dict)

    @property
    def current(self) -> bool:
        """Whether the inventory on disk is what the answers ask for."""
        return not (self.changed or self.removed_hosts or self.new_secrets)

    def as_json(self) -> dict[str, Any]:
        """Return the report for ``--json``; logins only, never a secret."""
        return {
            "practice": self.practice,
            "answers_digest": self.digest,
            "current": self.current,
            "hosts": self.hosts,
            "changed": self.changed,
            "removed_hosts": self.removed_hosts,
            "new_secrets": self.new_secrets,
        }


def answers_digest(practice: Practice) -> str:
    """Return the digest of the answers' meaning: comments and layout do not count."""
    canonical = json.dumps(practice.model_dump(mode="json"), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def render(practice: Practice) -> dict[str, str]:
    """Return the generated files, by path relative to ``inventory/``; no secret in them.

    Raises:
        AnswersError: the answers contradict themselves.
    """
    check_consistency(practice)
    groups: dict[str, dict[str, Any]] = {
        name: {"hosts": {}} for name in ("linux", "workstations", "servers", *(s.value for s in System))
    }
    files: dict[str, str] = {}
    for host in practice.hosts:
        for group in host_groups(host):
            groups[group]["hosts"][host.name] = None
        files[f"host_vars/{host.name}/main.yml"] = to_yaml(host_variables(practice, host))
    return {"hosts.yml": to_yaml({"all": {"children": groups}}), _COMMON: to_yaml(common_variables(practice)), **files}


def stored_digest(folder: PracticeFolder) -> str | None:
    """Return the digest of the answers that the inventory on disk was built from."""
    digest = _read_state(folder).get("answers_digest")
    return digest if isinstance(digest, str) else None


def compare(folder: PracticeFolder, practice: Practice) -> InventoryReport:
    """Say what differs between the inventory on disk and the answers, without writing or asking anything."""
    files = render(practice)
    current = folder.inventory_dir
    report = InventoryReport(practice.practice.id, answers_digest(practice), [host.name for host in practice.hosts])
    report.changed = [name for name, text in files.items() if _read(current / name) != text]
    if not report.changed and stored_digest(folder) != report.digest:
        report.changed = [STATE_NAME]
    known = set(report.hosts)
    stored = current / "host_vars"
    report.removed_hosts = sorted(p.name for p in stored.iterdir() if p.name not in known) if stored.is_dir() else []
    indexed = _indexed_logins(folder)
    for host in practice.hosts:
        held = indexed.get(host.name, ())
        missing = [one for one in _secrets_of(practice, host) if one not in held]
        if missing or not (stored / host.name / "vault.yml").is_file():
            report.new_secrets[host.name] = missing
    return report


def build(folder: PracticeFolder, practice: Practice, password: PasswordSource) -> InventoryReport:
    """Bring ``inventory/`` in line with the answers; the old one stays until the new one is complete.

    Raises:
        AnswersError: wrong answers, wrong vault password, or a place that cannot be written.
        AntisecheError: another process is writing, or the disk fails.
    """
    render(practice)  # wrong answers are refused before anything is touched
    try:
        with staging.locked(folder.root):
            staging.recover(folder.inventory_dir)
            report = compare(folder, practice)
            if not report.current:
                _rebuild(folder, practice, report, password)
            return report
    except OSError as error:
        refusal = AnswersError if atomic.is_correctable(error) else AntisecheError
        raise refusal(
            _(
                "L'inventaire de « {name} » n'a pas pu être écrit ({error}) ; le précédent est intact. Corrigez, puis relancez."
            ).format(name=folder.name, error=atomic.reason(error))
        ) from error


def _rebuild(folder: PracticeFolder, practice: Practice, report: InventoryReport, password: PasswordSource) -> None:
    target = folder.inventory_dir
    stage = staging.staging_path(target)
    try:
        if target.is_dir():
            shutil.copytree(target, stage, symlinks=True)
        _stage_generated(stage, render(practice))
        _stage_returning(folder, stage, report)
        index = _stage_vaults(stage, practice, report, _indexed_logins(folder), password)
        _keep_removed(folder, report)
        for name in report.removed_hosts:
            _remove(stage / "host_vars" / name)
        state = {"version": _STATE_VERSION, "answers_digest": report.digest, "vaults": index}
        _write(stage / STATE_NAME, json.dumps(state, indent=1, sort_keys=True) + "\n", 0o644)
        staging.swap(target)
    except BaseException:
        staging.abandon(target)
        raise
    _forget_returned(folder, practice)


def _stage_generated(stage: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        _write(stage / name, text, 0o644)


def _stage_returning(folder: PracticeFolder, stage: Path, report: InventoryReport) -> None:
    """A host that comes back finds its secrets again: its accounts may still carry them."""
    for name in report.new_secrets:
        kept, vault = _removed_dir(folder, name) / "vault.yml", stage / "host_vars" / name / "vault.yml"
        if kept.is_file() and not vault.exists():
            _write(vault, kept.read_text(encoding="utf-8"), 0o600)


def _stage_vaults(
    stage: Path, practice: Practice, report: InventoryReport, indexed: dict[str, list[str]], password: PasswordSource
) -> dict[str, Any]:
    """Complete the vault files; return the index of the logins they hold."""
    vault: Vault | None = None
    index: dict[str, Any] = {}
    for host in practice.hosts:
        path = stage / "host_vars" / host.name / "vault.yml"
        logins = indexed.get(host.name, [])
        if host.name in report.new_secrets:
            vault = vault or _open_vault(stage, password)
            logins, created = _complete_vault(vault, path, practice, host)
            report.new_secrets[host.name] = created
        index[host.name] = {"sha256": _sha256(path), "logins": logins}
    report.new_secrets = {name: created for name, created in report.new_secrets.items() if created}
    return index


def _open_vault(stage: Path, password: PasswordSource) -> Vault:
    # Imported here: it loads a part of Ansible, which an unchanged inventory does not need.
    from antiseche.practice.secrets import Vault

    existing = sorted(stage.glob("host_vars/*/vault.yml"))
    vault = Vault(password(not existing))
    for path in existing[:1]:
        vault.read(path)  # one password for the whole practice: refuse a second one
    return vault


OFFSITE_PUBLIC_KEY = "copie-distante.pub"  # beside the vault; Ansible reads no file of that ending
_VOLUME = "volume "  # in the index, beside logins, which hold no space


def _secrets_of(practice: Practice, host: Host) -> list[str]:
    """Return what a host's vault must hold: logins, and labels of other secrets, which have a space in them."""
    volumes = [_VOLUME + disk.name for disk in host.data_disks]
    return [*active_logins(practice, host), *volumes, *backup_secrets.wanted(practice, host)]


def _complete_vault(vault: Vault, path: Path, practice: Practice, host: Host) -> tuple[list[str], list[str]]:
    from antiseche.practice import escrow
    from antiseche.practice.secrets import passwords_in, with_passwords

    exists = path.exists()
    values = vault.read(path) if exists else {}
    logins, volumes = active_logins(practice, host), [disk.name for disk in host.data_disks]
    labels = backup_secrets.wanted(practice, host)
    created = [login for login in logins if login not in passwords_in(values)]
    created += [_VOLUME + name for name in escrow.missing(values, volumes)]
    created += [label for label in labels if label not in backup_secrets.held(values)]
    if created or not exists:
        values = backup_secrets.with_secrets(escrow.with_keys(with_passwords(values, logins), volumes), labels)
        text = vault.encrypt(values)
        if vault.decrypt(text, str(path)) != values:
            raise AntisecheError(_("Le coffre {where} ne se relit pas : rien n'a été écrit.").format(where=path))
        _write(path, text, 0o600)
    public = backup_secrets.offsite_public_key(values, f"antiseche-{practice.practice.id}")
    if backup_secrets.OFFSITE in labels and public is not None:
        _write(path.with_name(OFFSITE_PUBLIC_KEY), public, 0o644)
    keys = [_VOLUME + name for name in sorted(escrow.volumes_in(values))]
    return [*sorted(passwords_in(values)), *keys, *sorted(backup_secrets.held(values))], created


def _removed_dir(folder: PracticeFolder, host: str) -> Path:
    return folder.root / "removed" / host


def _keep_removed(folder: PracticeFolder, report: InventoryReport) -> None:
    """Copy what was not generated for a host that goes, before it goes."""
    for name in report.removed_hosts:
        source = folder.inventory_dir / "host_vars" / name
        files = [source] if not source.is_dir() else [p for p in source.rglob("*") if p.is_file() and p != source / "main.yml"]
        for path in files:
            kept = _removed_dir(folder, name) / (path.relative_to(source) if source.is_dir() else path.name)
            data = path.read_bytes()
            if kept.exists() and kept.read_bytes() != data:
                older = hashlib.sha256(kept.read_bytes()).hexdigest()[:8]
                kept.replace(kept.with_name(f"{kept.stem}-{older}{kept.suffix}"))
            _make_private(kept.parent, folder.root)
            unfinished = kept.with_name(f".{kept.name}.new")
            _write_bytes(unfinished, data, 0o600)
            unfinished.replace(kept)
        if files:
            staging.sync_tree(folder.root / "removed")


def _make_private(path: Path, root: Path) -> None:
    for parent in [*reversed(path.parents), path]:
        if root in parent.parents:
            parent.mkdir(mode=0o700, exist_ok=True)


def _forget_returned(folder: PracticeFolder, practice: Practice) -> None:
    for host in practice.hosts:
        kept = _removed_dir(folder, host.name) / "vault.yml"
        vault = folder.inventory_dir / "host_vars" / host.name / "vault.yml"
        if kept.is_file() and vault.is_file() and kept.read_bytes() == vault.read_bytes():
            kept.unlink()


def _read_state(folder: PracticeFolder) -> dict[str, Any]:
    try:
        state = json.loads((folder.inventory_dir / STATE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) and state.get("version") == _STATE_VERSION else {}


def _indexed_logins(folder: PracticeFolder) -> dict[str, list[str]]:
    """Return the logins known to be in each vault; a vault that was edited by hand is not known any more."""
    vaults = _read_state(folder).get("vaults")
    known: dict[str, list[str]] = {}
    for name, entry in vaults.items() if isinstance(vaults, dict) else ():
        path = folder.inventory_dir / "host_vars" / str(name) / "vault.yml"
        if isinstance(entry, dict) and path.is_file() and entry.get("sha256") == _sha256(path):
            known[str(name)] = [str(login) for login in entry.get("logins", [])]
    return known


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _write(path: Path, text: str, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_bytes(path, text.encode(), mode)


def _write_bytes(path: Path, data: bytes, mode: int) -> None:
    """Write a file of the staging directory: nobody reads it before the swap, which flushes it."""
    if path.is_symlink() or path.exists():
        path.unlink()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as stream:
        os.fchmod(descriptor, mode)
        stream.write(data)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
