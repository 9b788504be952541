"""Backups of frozen files on a full machine: LVM and btrfs, files written in lockstep, a power cut, a kill, a full snapshot.

The tests follow one another, as the life of a machine does: what one leaves, the next finds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from antiseche.lab import labs, maintenance
from antiseche.lab.model import Equipment, MachineSpec
from antiseche.lab.requirements import requirements
from antiseche.practice.folder import PracticeFolder

pytestmark = [pytest.mark.lab, pytest.mark.long]

HOST = "serveur"
ROLE = ("--role", "backup")
STATE = "/var/lib/antiseche-backup"
DISKS = """
vgcreate -q donnees /dev/vdb
lvcreate -q --yes --size 80m --name dossiers donnees
mkfs.ext4 -q /dev/donnees/dossiers
mkfs.btrfs -q /dev/vdc
mkfs.ext4 -q /dev/vdd
mkdir -p /srv/dossiers /srv/images
echo '/dev/donnees/dossiers /srv/dossiers ext4 defaults 0 2' >> /etc/fstab
echo '/dev/vdc /srv/images btrfs defaults 0 0' >> /etc/fstab
systemctl daemon-reload
mount /srv/dossiers
mount /srv/images
mkdir /srv/dossiers/ancien
btrfs -q subvolume create /srv/images/scans
mkdir /srv/images/.antiseche-backup
btrfs -q subvolume create /srv/images/.antiseche-backup/a-nous
head -c 6m /dev/urandom > /srv/dossiers/m-radios
echo radio > /srv/images/scans/radio
echo 0 > /srv/dossiers/a; echo 0 > /srv/dossiers/z
"""
# Two files that always tell the same number, or the one just after it; between their names lies what takes long to read.
WRITER = """
n=0
while :; do n=$((n + 1)); echo $n > /srv/dossiers/a; echo $n > /srv/dossiers/z; echo $n > /srv/images/scans/n; sleep 0.2; done
"""
RESTIC = (
    "env RESTIC_REPOSITORY_FILE=/etc/antiseche/backup/repository RESTIC_PASSWORD_FILE=/etc/antiseche/backup/password"
    " restic --no-cache --no-lock --cacert /etc/antiseche/backup/server.pem"
)
OURS = "lvs --noheadings -o lv_name -S lv_tags=antiseche_backup; btrfs subvolume list /srv/images | grep -o 'snapshot-.*' || true"


class Site:
    """A practice of one full machine, which keeps its own backups, and the contractor's command line."""

    def __init__(self, root: Path, lab: labs.Lab) -> None:
        self.lab = lab
        self.folder = PracticeFolder(root / "tilleuls")
        self.folder.root.mkdir()
        self.password = root / "password"
        self.password.touch(mode=0o600)
        self.password.write_bytes(b"essai")
        self.folder.known_hosts.write_text((lab.folder / "known_hosts").read_text(encoding="utf-8"), encoding="utf-8")
        machine = lab.machine(HOST)
        answers = {
            "version": 1,
            "practice": {"id": "tilleuls", "name": "Cabinet des Tilleuls"},
            "people": [{"login": "cexemple", "name": "Dr Camille Exemple", "function": "doctor", "admin": True}],
            "hosts": [
                {"name": HOST, "kind": "server", "system": machine.system, "address": machine.address, "users": ["cexemple"]}
            ],
            "network": {"lan": lab.state.subnet},
            "maintenance": {
                "contractor": "Prestataire Exemple",
                "account": "antiseche",
                "addresses": [f"{lab.gateway}/32"],
                "public_keys": [lab.public_key],
            },
            "backup": {
                "server": HOST,
                "hosts": [
                    {
                        "host": HOST,
                        "paths": ["/srv/dossiers", "/srv/images"],
                        "must_survive": ["/srv/images/scans/radio"],
                        "dumps": [{"name": "base.txt", "command": ["cat", "/srv/dossiers/a"]}],
                        "snapshots": True,
                    }
                ],
            },
        }
        self.folder.answers_file.write_text(yaml.safe_dump(answers, allow_unicode=True), encoding="utf-8")

    def run(self, *words: str, access: bool = True) -> tuple[int, str]:
        """Run a command of the kit; return its code and all that it said."""
        options = ["--vault-password-file", str(self.password)] if access else []
        options += ["--private-key", str(self.lab.private_key)] if access and words[0] != "inventory" else []
        done = subprocess.run(
            [sys.executable, "-m", "antiseche", words[0], str(self.folder.root), *words[1:], *options],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
            env={**os.environ, "ANTISECHE_LANG": "fr"},
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout + ("" if "--json" in words else done.stderr)

    def sh(self, script: str) -> str:
        done = self.lab.exec(HOST, ["sh", "-euc", script], b"", 300)
        assert done.rc == 0, done.stderr.decode() + done.text()
        return done.text().strip()

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.sh(f"cat {STATE}/state.json 2>/dev/null || echo '{{}}'"))
        return found

    def begin(self) -> None:
        """Start the service as if nothing had been backed up today, and see it make its snapshots."""
        self.sh(f"systemctl stop antiseche-backup.service; rm -f {STATE}/state.json")
        self.sh("systemctl reset-failed antiseche-backup.service || true; systemctl start --no-block antiseche-backup.service")
        wait_for(lambda: "snapshot-" in self.sh(OURS))  # btrfs comes after LVM
        assert "antiseche-backup-dossiers" in self.sh(OURS)

    def end(self) -> dict[str, Any]:
        """Wait for the backup's end; return its state."""
        wait_for(lambda: self.sh("systemctl is-active antiseche-backup.service || true") in ("inactive", "failed"))
        return self.state()

    def control(self, name: str) -> dict[str, Any]:
        _code, out = self.run("verify", "--json", *ROLE)
        return {one["control"]: one for one in json.loads(out)["results"]}[name]


def wait_for(condition: Callable[[], bool], seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(1)  # each look costs the machine, which emulates its processor, a good part of a second


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    assert not requirements(full=True), "this machine must be able to run full machines"
    name = f"test-snapshots-{os.getpid()}"
    try:
        lab = labs.up(name, [MachineSpec(HOST, "debian13", equipment=Equipment((128, 128, 64)))], driver="qemu")
        maintenance.bootstrap(lab)
        running = Site(tmp_path_factory.mktemp("snapshots"), lab)
        running.sh(DISKS)
        code, said = running.run("inventory")
        assert code == 0, said
        yield running
    finally:
        labs.down(name)


def test_files_written_in_lockstep_are_equal_in_the_backup(site: Site) -> None:
    site.lab.exec(HOST, ["sh", "-c", "cat > /root/writer"], WRITER.encode())
    site.sh("systemd-run -q --unit writer sh /root/writer")
    code, said = site.run("deploy", "--yes", *ROLE)
    assert code == 0, said
    wait_for(lambda: bool(site.state().get("attempt")))
    state = site.end()
    last = int(site.sh("systemctl stop writer; cat /srv/dossiers/z"))
    assert state["failure"] is None, state
    places = {one["place"]: one["kind"] for one in state["frozen"]["frozen"]}
    assert places == {"/srv/dossiers": "lvm", "/srv/images": "btrfs", "/srv/images/scans": "btrfs"}
    assert state["frozen"]["live"] == []
    site.sh(f"{RESTIC} restore -q latest --target /root/back --exclude m-radios")
    names = ("srv/dossiers/a", "srv/dossiers/z", "srv/images/scans/n", "var/lib/antiseche-backup*/dumps/base.txt")
    first, second, image, dumped = (int(site.sh(f"cat /root/back/{name}")) for name in names)
    assert 0 <= first - second <= 1, "both are of one moment"
    assert last - second > 10, "the files went on changing while they were read"
    assert 0 < dumped <= second, "the dump comes before the snapshot"
    assert image >= second, "the other disk is frozen too, just after"
    assert site.sh("cat /root/back/srv/images/scans/radio") == "radio"
    assert site.sh(OURS) == "", "the snapshots are gone"
    assert site.control("SAV-10")["outcome"] == "pass"


def test_after_a_power_cut_the_next_run_removes_what_was_left_and_nothing_else(site: Site) -> None:
    site.sh("systemctl disable -q --now antiseche-backup.timer")
    site.begin()
    site.sh("sync")
    site.lab.driver.power_cut(site.lab.machine(HOST))
    site.lab.driver.power_on(site.lab.machine(HOST), 300)
    assert "antiseche-backup-dossiers" in site.sh(OURS)
    assert "snapshot-" in site.sh(OURS)
    # A snapshot of somebody else's, whose name is like ours, and a subvolume where ours are.
    site.sh("lvcreate -q --yes --snapshot --size 8m --name antiseche-backup-moi donnees/dossiers")
    site.sh("systemctl start antiseche-backup.service")
    assert site.state()["failure"] is None
    assert site.state()["frozen"]["live"] == []
    assert site.sh(OURS) == ""
    kept = site.sh("lvs --noheadings -o lv_name; btrfs subvolume list /srv/images; ls /run/antiseche-backup 2>&1 || true")
    assert "antiseche-backup-moi" in kept
    assert ".antiseche-backup/a-nous" in kept
    site.sh("lvremove -q --yes donnees/antiseche-backup-moi")


def test_after_a_kill_no_snapshot_stays(site: Site) -> None:
    site.begin()
    site.sh("systemctl kill --signal=KILL antiseche-backup.service")
    site.end()
    assert site.sh(OURS) == ""


def test_a_snapshot_that_fills_up_is_read_again_from_the_live_files_and_told(site: Site) -> None:
    site.begin()
    # The backup waits until more has changed than the snapshot has room for.
    site.sh("systemctl kill --signal=STOP antiseche-backup.service; head -c 20m /dev/urandom > /srv/dossiers/gros; sync")
    site.sh("systemctl kill --signal=CONT antiseche-backup.service")
    state = site.end()
    assert state["failure"] is None, state
    assert [(one["place"], one["why"]) for one in state["frozen"]["live"]] == [("/srv/dossiers", "filled")]
    assert site.sh(f"{RESTIC} ls latest /srv/dossiers | grep -c gros") == "1", "the live files are in the backup"
    assert site.sh(OURS) == ""


def test_no_room_and_a_disk_that_cannot_be_frozen_are_told_in_french(site: Site) -> None:
    site.sh(
        "rm /srv/dossiers/gros; lvcreate -q --yes --extents 100%FREE --name reste donnees; mount /dev/vdd /srv/dossiers/ancien"
    )
    site.sh(f"echo x > /srv/dossiers/ancien/x; rm {STATE}/state.json; systemctl start antiseche-backup.service")
    state = site.state()
    assert state["failure"] is None
    assert {(one["place"], one["why"]) for one in state["frozen"]["live"]} == {
        ("/srv/dossiers", "room"),
        ("/srv/dossiers/ancien", "kind"),
    }
    assert site.sh(f"{RESTIC} ls latest /srv/dossiers/ancien | grep -c ancien/x") == "1", "what is not frozen is not lost"
    found = site.control("SAV-10")
    assert found["outcome"] == "fail"
    _code, shown = site.run("status", access=False)
    for words in ("/srv/dossiers", "il ne reste pas assez de place", "/srv/dossiers/ancien", "ni sous LVM ni sous btrfs"):
        assert words in found["message"], found
        assert words in shown
