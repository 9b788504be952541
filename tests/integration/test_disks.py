"""Encrypted disks on a full machine: what is refused, power cuts at every step, a lost TPM, a lost header, no key left behind.

The tests follow one another, as the life of a machine does: what one leaves, the next finds.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from disk_site import HOST, ROLE, Site

from antiseche.lab import labs, maintenance
from antiseche.lab.model import Equipment, MachineSpec
from antiseche.lab.requirements import requirements

pytestmark = pytest.mark.lab

BLANK = "/dev/disk/by-id/virtio-antiseche-data1"
DONNEES = {"name": "donnees", "device": BLANK, "mount": "/srv/donnees"}
TEXT = "Les patients d'un cabinet fictif"
# What each further disk carries, how it gets there, and what its refusal says.
CARRIED = {
    "vdc": ("mkfs.ext4 -q -F /dev/vdc", "porte un système de fichiers (ext4)"),
    "vdd": ("echo 'label: gpt' | sfdisk -q /dev/vdd", "porte une table de partitions"),
    "vde": ("pvcreate -q /dev/vde", "groupe de volumes LVM"),
    "vdf": (
        "mdadm --create /dev/md0 --run --level=1 --force --raid-devices=1 --metadata=1.2 /dev/vdf && mdadm --stop /dev/md0",
        "ensemble RAID (linux_raid_member)",
    ),
    "vdg": (
        "echo autre | cryptsetup luksFormat -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 /dev/vdg -",
        "volume LUKS que ce kit n'a pas fait",
    ),
    "vdh": ("printf x | dd of=/dev/vdh bs=1 seek=4097 conv=notrunc status=none", "n'est pas vierge"),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    assert not requirements(full=True), "this machine must be able to run full machines"
    name = f"test-disks-{os.getpid()}"
    equipment = Equipment((192, *[64 for _disk in CARRIED]))
    try:
        lab = labs.up(name, [MachineSpec(HOST, "debian13", equipment=equipment)], driver="qemu")
        maintenance.bootstrap(lab)
        yield Site(tmp_path_factory.mktemp("disks"), lab)
    finally:
        labs.down(name)


def test_whatever_carries_something_is_refused_and_then_nothing_at_all_is_touched(site: Site) -> None:
    for script, _sentence in CARRIED.values():
        site.sh(script)
    everything = "for disk in /dev/vd[b-h]; do head -c 4M $disk | md5sum; done; cat /etc/crypttab /etc/fstab 2>&1 | md5sum"
    before = site.sh(everything)
    site.answer(DONNEES, *({"name": name, "device": f"/dev/{name}", "mount": f"/srv/{name}"} for name in CARRIED))
    said = site.deploy(code=5)
    for name, (_script, sentence) in CARRIED.items():
        assert any(part.strip().startswith(f"/dev/{name}") and sentence in part for part in said.split(" ; ")) or (
            f"/dev/{name} " in said and sentence in said
        ), said
    assert site.sh(everything) == before
    assert site.headers() == []


def test_power_cut_while_the_volume_is_formatted(site: Site) -> None:
    site.answer(DONNEES)
    drawn = site.keys()
    site.cut_during("cryptsetup luksFormat")
    site.answer(DONNEES)
    assert site.keys() == drawn
    site.cut_during("cryptsetup luksAddKey")


def test_power_cut_while_the_tpm_is_enrolled(site: Site) -> None:
    site.cut_during("systemd-cryptenroll --unlock-key-file")


def test_a_header_that_cannot_be_kept_fails_the_run_and_the_next_one_keeps_it(site: Site) -> None:
    site.answer(DONNEES)
    place = site.folder.root / "escrow"
    place.write_text("", encoding="utf-8")
    assert "n'a pas pu être rangé au coffre" in site.deploy(code=5)
    place.unlink()
    site.deploy()
    assert len(site.headers()) == 1
    site.sh(f'printf %s "{TEXT}" > /srv/donnees/essai && sync')


def test_after_a_power_cut_the_tpm_opens_it_and_nothing_has_drifted(site: Site) -> None:
    site.power_cut()
    site.power_on()
    assert site.sh("cat /srv/donnees/essai") == TEXT
    code, out, err = site.run("drift", "--json", *ROLE)
    found = json.loads(out)
    assert found["configuration"] == [], out + err
    # The lab machine's own system disk is in the clear: told each time, and nothing else is.
    assert code == 3
    outcomes = {r["control"]: r["outcome"] for r in found["results"]}
    assert outcomes.pop("CHF-01") == "fail"
    assert outcomes.pop("CHF-08") == "not-applicable"  # not asked for
    assert set(outcomes.values()) == {"pass"}


def test_no_key_is_on_the_machines_system_disk(site: Site) -> None:
    """Looked for in what the machine ever wrote: deleted files, logs and swap included."""
    site.power_cut()
    system = (site.lab.folder / "machines" / HOST / "disks" / "system").read_bytes()
    keys = site.keys()
    assert keys["uuid"].encode() in system  # crypttab: what is written there can be found
    assert keys["passphrase"].encode() not in system
    assert keys["recovery_key"].encode() not in system


def test_the_vaults_recovery_key_opens_what_a_lost_tpm_does_not(site: Site) -> None:
    site.lab.full().forget_tpm(site.lab.machine(HOST))
    site.power_on()
    assert site.sh("findmnt /srv/donnees || echo none") == "none"
    assert site.outcomes()["CHF-04"][0] == "fail"
    key = site.keys()["recovery_key"].encode()
    opening = f"cryptsetup open --disable-external-tokens --key-file - {BLANK} secours"
    assert site.lab.exec(HOST, ["sh", "-c", opening], key[:-1] + b"x").rc != 0
    site.sh(opening, key)
    assert site.sh("mount -o ro /dev/mapper/secours /mnt; cat /mnt/essai; umount /mnt; cryptsetup close secours") == TEXT
    site.deploy()
    assert site.outcomes()["CHF-04"][0] == "pass"
    assert site.sh("cat /srv/donnees/essai") == TEXT


def test_a_lost_header_stops_the_run_and_comes_back_from_the_vault(site: Site, tmp_path: Path) -> None:
    site.sh(
        "umount /srv/donnees; cryptsetup close donnees; dd if=/dev/zero of=/dev/vdb bs=1M count=16 conv=notrunc status=none; sync"
    )
    assert "restaurez-le depuis le coffre" in site.deploy(code=5)
    file = tmp_path / "header"
    code, out, err = site.run("escrow header", "--host", HOST, "--volume", "donnees", "--output", str(file), key=False)
    assert code == 0, out + err
    assert file.stat().st_mode & 0o777 == 0o600
    site.sh(f"cat > /run/header; cryptsetup luksHeaderRestore -q --header-backup-file /run/header {BLANK}", file.read_bytes())
    site.deploy()
    assert site.sh("cat /srv/donnees/essai") == TEXT


def test_a_key_that_somebody_added_is_found(site: Site) -> None:
    site.sh(f"NEWPASSWORD=autre systemd-cryptenroll --unlock-tpm2-device=auto --password {BLANK}")
    outcome, message = site.outcomes()["CHF-07"]
    assert (outcome, "clé inconnue (emplacement" in message) == ("fail", True), message
    slot = message.rpartition("emplacement ")[2].split(")")[0]
    site.sh(f"systemd-cryptenroll --wipe-slot={slot} {BLANK}")
    assert site.outcomes()["CHF-07"][0] == "pass"
    site.deploy()


def test_swap_and_volumes_in_the_clear_are_found(site: Site) -> None:
    site.sh("fallocate -l 32M /swap && chmod 600 /swap && mkswap -q /swap && swapon /swap")
    site.sh("mkdir -p /mnt/vdc; mkfs.ext4 -q -F /dev/vdc; mount /dev/vdc /mnt/vdc")
    found: dict[str, Any] = site.outcomes()
    assert found["CHF-06"][0] == "fail"
    assert "/swap" in found["CHF-06"][1]
    assert found["CHF-05"][0] == "fail"
    assert "/dev/vdc" in found["CHF-05"][1]
    site.sh("swapoff /swap; rm /swap; umount /mnt/vdc")
    found = site.outcomes()
    assert (found["CHF-05"][0], found["CHF-06"][0]) == ("pass", "pass")
