"""A system disk that is already encrypted: recovery key and TPM enrolled over a power cut, a start by the TPM alone, a lost TPM.

The tests follow one another, as the life of a machine does. Where a key is typed, it is on the machine's console, as by a person.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest
from disk_site import HOST, PASSWORD, ROLE, Site

from antiseche.lab import encrypted, labs, maintenance
from antiseche.lab.model import Equipment, MachineSpec
from antiseche.lab.requirements import requirements
from antiseche.practice.secrets import Vault

pytestmark = [pytest.mark.lab, pytest.mark.long]

ASKED = {"system_tpm_unlock": True, "encrypted_swap": True}
STATE = "head -c 16M /dev/vda | md5sum; cat /etc/fstab /etc/crypttab; cut -d ' ' -f 1 /proc/swaps; blkid -p /dev/vdb"
SWAPS = (
    "awk 'NR>1 {print $1}' /proc/swaps | while read -r swap; do"
    " case $swap in /dev/dm-*) echo /dev/mapper/$(dmsetup info -c --noheadings -o name $swap);; *) echo $swap;; esac; done"
)


class RootSite(Site):
    """The same, with the system disk's keys."""

    def put_passphrase(self) -> None:
        """As somebody does who writes it into the machine's vault."""
        vault = Vault(PASSWORD)
        values = vault.read(self.vault_file)
        self.vault_file.write_text(
            vault.encrypt({**values, "disk_encryption_root": {"passphrase": encrypted.PASSPHRASE}}), encoding="utf-8"
        )

    def recovery_key(self) -> str:
        return str(Vault(PASSWORD).read(self.vault_file)["disk_encryption_root"]["recovery_key"])

    def start_with(self, typed: str, timeout: float = 300) -> None:
        self.lab.full().power_on(self.lab.machine(HOST), timeout, typed=typed)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RootSite]:
    assert not requirements(full=True), "this machine must be able to run full machines"
    name = f"test-root-{os.getpid()}"
    try:
        lab = labs.up(name, [MachineSpec(HOST, "debian13", equipment=Equipment((64,), encrypted_system=True))], driver="qemu")
        maintenance.bootstrap(lab)
        yield RootSite(tmp_path_factory.mktemp("root"), lab)
    finally:
        labs.down(name)


def test_without_its_passphrase_nothing_is_touched(site: RootSite) -> None:
    site.sh("mkswap -q /dev/vdb; echo UUID=$(blkid -o value -s UUID /dev/vdb) none swap sw 0 0 >> /etc/fstab; swapon /dev/vdb")
    site.sh("fallocate -l 32M /swap; chmod 600 /swap; mkswap -q /swap; swapon /swap")  # on the encrypted disk: nothing to do
    site.answer(**ASKED)
    before = site.sh(STATE)
    assert "écrivez sa phrase au coffre" in site.deploy(code=5)
    assert site.sh(STATE) == before


def test_a_machine_that_hibernates_is_refused_in_the_readers_language(site: RootSite) -> None:
    site.put_passphrase()
    site.answer(**ASKED)
    assert site.recovery_key()
    before = site.sh(STATE)
    site.sh("echo GRUB_CMDLINE_LINUX=resume=/dev/vdb > /etc/default/grub")
    code, out, err = site.run("deploy", "--yes", *ROLE, lang="en")
    site.sh("rm /etc/default/grub")
    assert (code, "is set up to hibernate (/etc/default/grub)" in out + err) == (5, True), out + err
    assert site.sh(STATE) == before
    # As Debian's installer does, wanted or not.
    site.sh("echo RESUME=UUID=$(blkid -o value -s UUID /dev/vdb) > /etc/initramfs-tools/conf.d/resume")


def test_power_cut_while_the_tpm_is_enrolled(site: RootSite) -> None:
    site.cut_during("clevis.luks.bind|clevis-luks-bind")


def test_the_next_deployment_converges_and_then_nothing_changes(site: RootSite) -> None:
    site.deploy()
    header = json.loads(site.sh("cryptsetup luksDump --dump-json-metadata /dev/vda"))
    held = {slot for token in header["tokens"].values() for slot in token["keyslots"]}
    assert set(header["keyslots"]) - held == {"0"}, "a slot that nobody knows the key of"
    assert site.sh(SWAPS) == "/dev/mapper/cryptswap"
    assert site.sh("cat /etc/initramfs-tools/conf.d/resume") == "RESUME=none"
    assert site.sh("systemd-analyze cat-config systemd/sleep.conf | grep ^AllowHibernation") == "AllowHibernation=no"
    code, out, err = site.run("drift", "--json", *ROLE)
    found = json.loads(out)
    assert (code, found["configuration"]) == (0, []), out + err
    outcomes = {r["control"]: r["outcome"] for r in found["results"]}
    assert [outcomes[control] for control in ("CHF-01", "CHF-06", "CHF-08")] == ["pass"] * 3


def test_after_a_power_cut_it_starts_by_the_tpm_alone_and_swaps_with_another_key(site: RootSite) -> None:
    key = site.sh("dmsetup table --showkeys cryptswap | md5sum")
    site.power_cut()
    site.start_with("")
    assert site.sh("lsblk -nro TYPE,MOUNTPOINTS | grep ' /$'") == "crypt /"
    assert site.sh(SWAPS) == "/dev/mapper/cryptswap"
    assert site.sh("dmsetup table --showkeys cryptswap | md5sum") != key


def test_tpm_lost_the_vaults_recovery_key_starts_it(site: RootSite) -> None:
    site.power_cut()
    site.lab.full().forget_tpm(site.lab.machine(HOST))
    site.start_with(site.recovery_key())
    assert site.sh("lsblk -nro TYPE,MOUNTPOINTS | grep ' /$'") == "crypt /"
