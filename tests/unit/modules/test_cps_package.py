"""The card middleware laid out again: the vendor's faults do not survive, and foreign files are refused."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from module_process import FakeCommands
from test_elf_stack import made

package = importlib.import_module("ansible.module_utils.antiseche_cps_package")
elf = importlib.import_module("ansible.module_utils.antiseche_elf_stack")
needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is Debian's")
SOURCE = {"file": "CryptolibCPS-5.2.2-1.x86_64.rpm", "version": "5.2.2", "sha256": "00" * 32}
BAD_LIBRARY = made(7)
OPEN = (
    "etc/opt/santesocial/CPS/Coffre",
    "etc/opt/santesocial/CPS/cache",
    "var/opt/santesocial",
    "var/opt/santesocial/commun/adm",
)


@pytest.fixture
def payload(tmp_path: Path) -> Path:
    """What the vendor's file holds, with its faults."""
    root = tmp_path / "payload"
    for name in (*OPEN, "opt/santesocial/CPS/bin", "usr/lib64", "usr/bin"):
        (root / name).mkdir(parents=True, exist_ok=True)
    library = root / package.LIBRARY
    library.parent.mkdir(parents=True)
    library.write_bytes(BAD_LIBRARY)
    (root / "etc/opt/santesocial/CPS/Coffre/ACR_TEST.cer").write_text("certificate")
    program = root / "opt/santesocial/CPS/bin/cpgeslux"
    program.write_bytes(made(6))
    program.chmod(0o4777)
    (root / "usr/bin/cpgeslux").symlink_to("/opt/santesocial/CPS/bin/cpgeslux")
    (root / "usr/lib64/libcps3_pkcs11_lux.so").symlink_to("/opt/santesocial/CPS/lib/libcps3_pkcs11_lux.so")
    for name in OPEN:
        (root / name).chmod(0o777)
    return root


def laid_out(payload: Path, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    tree = tmp_path / "tree"
    tree.mkdir()
    return tree, package.lay_out(payload, tree, SOURCE)


def test_nothing_is_left_open(payload: Path, tmp_path: Path) -> None:
    tree, record = laid_out(payload, tmp_path)
    modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in tree.rglob("*") if not path.is_symlink()}
    assert {mode for path, mode in modes.items() if mode & 0o7022} == set()
    assert set(record["closed"]) == {f"/{name}" for name in OPEN}
    assert modes[tree / "opt/santesocial/CPS/bin/cpgeslux"] == 0o755
    assert (tree / "usr/bin/cpgeslux").readlink() == Path("/opt/santesocial/CPS/bin/cpgeslux")


def test_the_library_loads_and_both_digests_are_recorded(payload: Path, tmp_path: Path) -> None:
    tree, record = laid_out(payload, tmp_path)
    installed = (tree / package.LIBRARY).read_bytes()
    assert not elf.asks_executable_stack(installed)
    digests = record["libraries"][f"/{package.LIBRARY}"]
    assert digests["vendor_sha256"] == hashlib.sha256(BAD_LIBRARY).hexdigest()
    assert digests["installed_sha256"] == hashlib.sha256(installed).hexdigest() != digests["vendor_sha256"]
    assert digests["stack_cleared"] is True
    assert record["libraries"]["/opt/santesocial/CPS/bin/cpgeslux"]["stack_cleared"] is False


@pytest.mark.parametrize(
    "name",
    ["etc/cron.d/job", "root/.ssh/authorized_keys", "tmp/CPS/adm_versions", "usr/sbin/tool", "DEBIAN/postinst", "etc/opt/other"],
)
def test_a_foreign_place_is_refused(payload: Path, tmp_path: Path, name: str) -> None:
    (payload / name).parent.mkdir(parents=True, exist_ok=True)
    (payload / name).write_text("echo")
    with pytest.raises(package.PackageError, match="not a place of the card middleware"):
        laid_out(payload, tmp_path)


def test_a_pipe_is_refused(payload: Path, tmp_path: Path) -> None:
    os.mkfifo(payload / "opt/santesocial/CPS/pipe")
    with pytest.raises(package.PackageError, match="neither a file"):
        laid_out(payload, tmp_path)


def test_another_software_is_refused(payload: Path, tmp_path: Path) -> None:
    (payload / package.LIBRARY).unlink()
    with pytest.raises(package.PackageError, match="missing"):
        laid_out(payload, tmp_path)


def test_a_damaged_library_is_refused(payload: Path, tmp_path: Path) -> None:
    (payload / package.LIBRARY).write_bytes(BAD_LIBRARY[:70])
    with pytest.raises(package.PackageError, match="damaged"):
        laid_out(payload, tmp_path)


def test_another_file_than_the_pinned_one_is_refused(tmp_path: Path) -> None:
    rpm = tmp_path / "any.rpm"
    rpm.write_bytes(b"other")
    with pytest.raises(package.PackageError, match="nothing was installed"):
        package.make(rpm, SOURCE, tmp_path)
    assert list(tmp_path.iterdir()) == [rpm]
    assert package.checked_digest(rpm, hashlib.sha256(b"other").hexdigest().upper())


@needs_dpkg
def test_the_package_has_no_script_and_says_where_it_comes_from(payload: Path, tmp_path: Path) -> None:
    tree, record = laid_out(payload, tmp_path)
    built = tmp_path / "made.deb"
    package.build(tree, record, built)
    listed = subprocess.run(["dpkg-deb", "--contents", built], capture_output=True, text=True, check=True).stdout
    assert all(line.split()[1] == "root/root" for line in listed.splitlines())
    assert not [line for line in listed.splitlines() if line[0] != "l" and (line[5] == "w" or line[8] == "w")]
    out = tmp_path / "out"
    subprocess.run(["dpkg-deb", "--raw-extract", built, out], check=True)
    assert {path.name for path in (out / "DEBIAN").iterdir()} == {"control", "triggers"}
    assert json.loads((out / package.PROVENANCE).read_text())["sha256"] == SOURCE["sha256"]
    assert f"module: /{package.LIBRARY}\n" in (out / package.P11_KIT).read_text()


def lead(name: bytes) -> bytes:
    """The first bytes of an RPM file of that name."""
    return b"\xed\xab\xee\xdb\x03\x00\x00\x00\x00\x01" + name.ljust(66, b"\0") + b"\0" * 20


def test_the_version_is_the_one_the_package_says(tmp_path: Path) -> None:
    rpm = tmp_path / "any.rpm"
    rpm.write_bytes(lead(b"CryptolibCPS-5.2.2-1"))
    package.refuse_version(rpm, "5.2.2")
    for other in ("5.2.4", "5.2", "2.2", "1"):
        with pytest.raises(package.PackageError, match="not version"):
            package.refuse_version(rpm, other)


@pytest.mark.parametrize("content", [b"", b"\xed\xab", b"!<arch>\n", b"PK\x03\x04-5.2.2-"])
def test_what_is_no_rpm_is_refused(tmp_path: Path, content: bytes) -> None:
    rpm = tmp_path / "any.rpm"
    rpm.write_bytes(content)
    with pytest.raises(package.PackageError, match="not an RPM"):
        package.refuse_version(rpm, "5.2.2")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has accounts to give up")
def test_what_was_unpacked_is_out_of_the_accounts_reach(tmp_path: Path, commands: FakeCommands) -> None:
    commands.folder.chmod(0o755)
    commands.log.touch()
    commands.log.chmod(0o666)
    commands.add("rpm2cpio", "cat")
    commands.add("cpio", "cat >/dev/null; id -u > who; id -G >> who; touch made")
    for folder in (tmp_path, *tmp_path.parents):
        if not folder.stat().st_mode & 0o001:
            folder.chmod(0o711)
    rpm, payload = tmp_path / "a.rpm", tmp_path / "payload"
    rpm.write_bytes(b"anything")
    rpm.chmod(0o600)
    payload.mkdir(mode=0o700)
    package.unpack(rpm, payload, 65534)
    assert (payload / "who").read_text().split() == ["65534", "65534"]
    assert not (payload / "payload").exists()
    assert (payload.stat().st_uid, payload.stat().st_mode & 0o777) == (0, 0o700)
