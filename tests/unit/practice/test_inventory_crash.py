"""Killed or refused at any moment, the inventory is the old one or the new one, and no secret is lost."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from inventory_samples import PASSWORD, SAMPLE, folder_in, password, sample

from antiseche.errors import AntisecheError
from antiseche.practice import inventory, staging
from antiseche.practice.folder import PracticeFolder
from antiseche.practice.secrets import Vault, passwords_in

OLD = sample()
# One host goes, one comes, one gains a person: every path of the builder is taken.
NEW = sample(
    hosts=[
        {**SAMPLE["hosts"][1], "users": ["claire", "remi", "lucie"]},
        SAMPLE["hosts"][2],
        {"name": "nouveau", "address": "192.168.1.20", "users": ["lucie"]},
    ]
)
# Where the builder touches the disk.
POINTS: list[tuple[Any, str]] = [
    (Path, "rename"),
    (Path, "replace"),
    (Path, "touch"),
    (Path, "unlink"),
    (os, "open"),
    (os, "fsync"),
    (os, "rename"),
    (shutil, "copytree"),
    (shutil, "rmtree"),
    (staging, "_exchange"),
]


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In memory: hundreds of builds, each flushed to the disk, would take minutes on a slow one."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.fixture(params=["exchange", "two renames"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PracticeFolder:
    if request.param == "two renames":
        monkeypatch.setattr(staging, "_exchange", lambda _one, _other: False)
    built = folder_in(tmp_path / "cabinet")
    inventory.build(built, OLD, password)
    return built


def secrets_of(folder: PracticeFolder) -> dict[str, dict[str, str]]:
    """Return every password, wherever the host's vault is."""
    found: dict[str, dict[str, str]] = {}
    for path in [*folder.root.glob("removed/*/vault*.yml"), *folder.inventory_dir.glob("host_vars/*/vault.yml")]:
        found.setdefault(path.parent.name, {}).update(passwords_in(Vault(PASSWORD).read(path)))
    return found


def is_whole(folder: PracticeFolder) -> bool:
    """Say whether the inventory is exactly the old or the new one."""
    return any(inventory.compare(folder, practice).current for practice in (OLD, NEW))


def keeps(before: dict[str, dict[str, str]], after: dict[str, dict[str, str]]) -> bool:
    return all(after.get(host, {}).get(login) == secret for host, known in before.items() for login, secret in known.items())


def inject(count: int, act: Callable[[], None]) -> Iterator[int]:
    """Make the n-th touch of the disk act; yields the counter for the caller to look at."""
    seen = 0

    def wrap(real: Any) -> Any:
        def wrapped(*args: Any, **options: Any) -> Any:
            nonlocal seen
            seen += 1
            if seen == count:
                act()
            return real(*args, **options)

        return wrapped

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in POINTS:
            patch.setattr(owner, name, wrap(getattr(owner, name)))
        yield seen


def refuse() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_refused_by_the_disk_at_every_step(folder: PracticeFolder, tmp_path: Path) -> None:
    pristine = tmp_path / "pristine"
    shutil.copytree(folder.root, pristine)
    count, failures = 0, 0
    while True:
        count += 1
        shutil.rmtree(folder.root)
        shutil.copytree(pristine, folder.root)
        before = secrets_of(folder)
        try:
            for _seen in inject(count, refuse):
                inventory.build(folder, NEW, password)
        except AntisecheError as error:
            failures += 1
            assert "intact" in str(error)  # noqa: PT017 - the call that ends the loop raises nothing
        else:
            break
        assert is_whole(folder), count
        assert keeps(before, secrets_of(folder)), count
        inventory.build(folder, NEW, password)
        assert inventory.compare(folder, NEW).current
        assert keeps(before, secrets_of(folder)), count
        assert not list(folder.root.glob(".inventory*")), count
    assert failures > 20


def test_killed_at_every_step(folder: PracticeFolder, tmp_path: Path) -> None:
    pristine = tmp_path / "pristine"
    shutil.copytree(folder.root, pristine)
    count, atomic = 0, staging._exchange.__name__ != "<lambda>"
    while True:
        count += 1
        shutil.rmtree(folder.root)
        shutil.copytree(pristine, folder.root)
        before = secrets_of(folder)
        child = os.fork()
        if child == 0:
            for _seen in inject(count, lambda: os.kill(os.getpid(), signal.SIGKILL)):
                inventory.build(folder, NEW, password)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        if status == 0:
            break
        assert os.WTERMSIG(status) == signal.SIGKILL, count
        # Without an atomic exchange there may be no inventory at all until the next start, never a mixture.
        assert is_whole(folder) or (not atomic and not folder.inventory_dir.exists()), count
        inventory.build(folder, NEW, password)
        assert inventory.compare(folder, NEW).current, count
        assert keeps(before, secrets_of(folder)), count
        assert not list(folder.root.glob(".inventory*")), count
    assert count > 20


def test_killed_at_random(tmp_path: Path) -> None:
    folder = folder_in(tmp_path / "cabinet")
    inventory.build(folder, OLD, password)
    known = secrets_of(folder)
    chance = random.Random(7)
    for index in range(25):
        child = os.fork()
        if child == 0:
            while True:
                inventory.build(folder, NEW, password)
                inventory.build(folder, OLD, password)
        time.sleep(chance.uniform(0.002, 0.06))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert is_whole(folder), index
    inventory.build(folder, NEW, password)
    inventory.build(folder, OLD, password)
    assert keeps(known, secrets_of(folder))


def test_two_writers_at_once(tmp_path: Path) -> None:
    folder = folder_in(tmp_path / "cabinet")
    children = []
    for _index in range(4):
        child = os.fork()
        if child == 0:
            try:
                inventory.build(folder, OLD, password)
            except BaseException:  # noqa: BLE001 - a forked child must not return into pytest
                os._exit(1)
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0, 0]
    assert inventory.compare(folder, OLD).current


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_disk_that_is_full(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True, check=False
    ).returncode:
        pytest.skip("no mount here")
    try:
        folder = folder_in(disk / "cabinet")
        inventory.build(folder, OLD, password)
        (disk / "ballast").write_bytes(b"x" * 8000)
        with pytest.raises(AntisecheError, match="intact"):
            inventory.build(folder, sample(practice={"id": "tilleuls", "name": "x" * 200}), password)
        assert inventory.compare(folder, OLD).current
        assert not list(folder.root.glob(".inventory*"))
    finally:
        subprocess.run(["umount", str(disk)], check=True)
