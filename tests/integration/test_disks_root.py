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

pytestmark = pytest.mark.lab


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
        lab = labs.up(name, [MachineSpec(HOST, "debian13", equipment=Equipment(encrypted_system=True))], driver="qemu")
        maintenance.bootstrap(lab)
        yield RootSite(tmp_path_factory.mktemp("root"), lab)
    finally:
        labs.down(name)


def test_without_its_passphrase_nothing_is_touched(site: RootSite) -> None:
    site.answer(system_tpm_unlock=True)
    before = site.sh("head -c 32M /dev/vda | md5sum")
    assert "écrivez sa phrase au coffre" in site.deploy(code=5)
    assert site.sh("head -c 32M /dev/vda | md5sum") == before


def test_power_cut_while_the_tpm_is_enrolled(site: RootSite) -> None:
    site.put_passphrase()
    site.answer(system_tpm_unlock=True)
    assert site.recovery_key()
    site.cut_during("clevis.luks.bind|clevis-luks-bind")


def test_the_next_deployment_converges_and_the_one_after_changes_nothing(site: RootSite) -> None:
    # As on a machine whose images were made before: they know nothing of the TPM.
    site.sh("for image in /boot/initrd.img-*; do : > $image; done")
    site.deploy()
    site.sh("lsinitramfs /boot/initrd.img-* | grep -q scripts/local-top/clevis")
    header = json.loads(site.sh("cryptsetup luksDump --dump-json-metadata /dev/vda"))
    held = {slot for token in header["tokens"].values() for slot in token["keyslots"]}
    assert set(header["keyslots"]) - held == {"0"}, "a slot that nobody knows the key of"
    code, out, err = site.run("drift", "--json", *ROLE)
    found = json.loads(out)
    assert (code, found["configuration"]) == (0, []), out + err
    outcomes = {r["control"]: r["outcome"] for r in found["results"]}
    assert (outcomes["CHF-01"], outcomes["CHF-08"]) == ("pass", "pass")


def test_after_a_power_cut_it_starts_by_the_tpm_alone(site: RootSite) -> None:
    site.lab.full().keep_initrd(site.lab.machine(HOST))
    site.power_cut()
    site.start_with("")
    assert site.sh("lsblk -nro TYPE,MOUNTPOINTS | grep ' /$'") == "crypt /"


def test_tpm_lost_the_vaults_recovery_key_starts_it_and_a_deployment_enrols_again(site: RootSite) -> None:
    site.power_cut()
    site.lab.full().forget_tpm(site.lab.machine(HOST))
    site.start_with(site.recovery_key())
    assert site.outcomes()["CHF-08"][0] == "fail"
    site.deploy()
    assert site.outcomes()["CHF-08"][0] == "pass"
