"""Which disks are encrypted, with what, and who can open them: as the kernel, cryptsetup and the TPM say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from antiseche.verify.checks import not_applicable, remark

LSBLK = "lsblk --json --bytes --output NAME,PATH,TYPE,FSTYPE,UUID,MOUNTPOINTS"
# The boot loader must read them before any key is there; they hold no data of anybody.
BOOT = ("/boot", "/boot/efi", "/efi")
ARGON = "argon2id"
LEAST_MEMORY = 65536  # KiB: RFC 9106, section 4, second recommended option


def tree(host: Any) -> list[tuple[dict[str, Any], bool]]:
    """Return every block device with whether an encrypted volume is above it."""
    return list(_walk(json.loads(host.check_output(LSBLK))["blockdevices"], inside=False))


def _walk(devices: list[dict[str, Any]], *, inside: bool) -> Iterator[tuple[dict[str, Any], bool]]:
    for device in devices:
        encrypted = inside or device["type"] == "crypt"
        yield device, encrypted
        yield from _walk(device.get("children") or [], inside=encrypted)


def points(device: dict[str, Any]) -> list[str]:
    """Return where a device is mounted."""
    return [point for point in device.get("mountpoints") or [] if point]


def declared(host: Any, expected: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the declared volumes, each with its LUKS device and header."""
    disks: list[dict[str, Any]] = expected.get("disk_encryption_disks") or []
    if not disks:
        # Said from what the machine shows, so that it is known to have been looked at.
        tree(host)
        not_applicable("aucun disque de données n'est déclaré")
    seen = tree(host)
    found = []
    for disk in disks:
        mapped = next((d for d, _in in seen if d["name"] == disk["name"] and d["type"] == "crypt"), None)
        assert mapped, f"Le volume « {disk['name']} » n'est pas ouvert."
        parent = next(d for d, _in in seen if mapped in (d.get("children") or []))
        found.append({**disk, "mapped": mapped, "path": parent["path"], "header": header(host, parent["path"])})
    return found


def header(host: Any, path: str) -> dict[str, Any]:
    """Return a LUKS2 header's metadata."""
    done = host.run(f"cryptsetup luksDump --dump-json-metadata {path}")
    assert done.rc == 0, f"{path} n'a pas d'en-tête LUKS2 lisible."
    metadata: dict[str, Any] = json.loads(done.stdout)
    return metadata


def slots_of(metadata: dict[str, Any], kind: str) -> list[str]:
    """Return the key slots that tokens of a type point to."""
    return [slot for token in metadata["tokens"].values() if token["type"] == kind for slot in token["keyslots"]]


@pytest.mark.control("CHF-01")
def test_the_system_disk_is_encrypted(host: Any) -> None:
    roots = [(device, inside) for device, inside in tree(host) if "/" in points(device)]
    assert roots, "Le disque du système n'a pas été trouvé parmi les disques de la machine."
    device, inside = roots[0]
    assert inside, f"Le système est en clair sur {device['path']} ({device['fstype']})."


@pytest.mark.control("CHF-02")
def test_declared_volumes_are_encrypted_and_in_use(host: Any, expected: dict[str, Any]) -> None:
    for disk in declared(host, expected):
        assert disk["mount"] in points(disk["mapped"]), f"« {disk['name']} » n'est pas monté sur {disk['mount']}."
        for segment in disk["header"]["segments"].values():
            assert segment["encryption"] == "aes-xts-plain64", f"« {disk['name']} » est chiffré en {segment['encryption']}."
        tpm = slots_of(disk["header"], "systemd-tpm2")  # its key is drawn by the machine: no dictionary can try it
        for number, slot in disk["header"]["keyslots"].items():
            kind = slot["kdf"]["type"]
            assert number in tpm or kind == ARGON, f"« {disk['name']} » : l'emplacement {number} est protégé par {kind}."
            memory = slot["kdf"].get("memory", 0)
            assert number in tpm or memory >= LEAST_MEMORY, f"« {disk['name']} » : l'emplacement {number} n'use que {memory} Kio."
            assert slot["key_size"] == 64, f"« {disk['name']} » : clé de {slot['key_size'] * 8} bits ; attendu : 512."
        at_boot = host.run(f"systemctl show -p SourcePath --value 'systemd-cryptsetup@{escaped(disk['name'])}.service'").stdout
        assert at_boot.strip() == "/etc/crypttab", f"« {disk['name']} » ne sera pas ouvert au prochain démarrage."
        remark(f"« {disk['name']} » : LUKS2, {len(disk['header']['keyslots'])} emplacements de clé")


def escaped(name: str) -> str:
    """Return a name as systemd writes it in a unit's."""
    return name.replace("-", r"\x2d")


@pytest.mark.control("CHF-03")
def test_recovery_keys_are_in_place(host: Any, expected: dict[str, Any]) -> None:
    for disk in declared(host, expected):
        slots = slots_of(disk["header"], "systemd-recovery")
        there = [slot for slot in slots if slot in disk["header"]["keyslots"]]
        assert there, f"« {disk['name']} » n'a pas de clé de secours."


@pytest.mark.control("CHF-04")
def test_the_tpm_opens_them(host: Any, expected: dict[str, Any]) -> None:
    disks = declared(host, expected)
    if host.run("test -e /dev/tpmrm0").rc != 0:
        not_applicable("aucune puce TPM 2.0 : les volumes s'ouvrent à la main, avec la clé de secours")
    for disk in disks:
        token = next((t for t in disk["header"]["tokens"].values() if t["type"] == "systemd-tpm2"), None)
        assert token, f"« {disk['name']} » n'est pas confié à la puce TPM."
        assert token.get("tpm2-pcrs") == [7], f"« {disk['name']} » est lié aux mesures {token.get('tpm2-pcrs')} ; attendu : [7]."
        done = host.run(f"cryptsetup open --test-passphrase --token-only --token-type systemd-tpm2 {disk['path']}")
        assert done.rc == 0, f"La puce TPM n'ouvre pas « {disk['name']} »."


@pytest.mark.control("CHF-05")
def test_no_other_volume_is_in_the_clear(host: Any) -> None:
    seen = tree(host)
    assert seen, "Aucun disque n'a été vu."
    clear = {
        f"{device['path']} ({', '.join(points(device))})"
        for device, inside in seen
        if not inside
        and device["type"] not in ("rom", "loop")
        and any(point not in BOOT for point in points(device))
        and not {"/", "[SWAP]"} & set(points(device))  # told by controls of their own
    }
    assert not clear, f"En clair : {', '.join(sorted(clear))}."


@pytest.mark.control("CHF-06")
def test_swap_and_hibernation_leave_nothing_in_the_clear(host: Any) -> None:
    encrypted = {device["path"] for device, inside in tree(host) if inside}
    for row in host.check_output("swapon --show=NAME,TYPE --noheadings --raw").splitlines():
        name, kind = row.split()[:2]
        if name.startswith("/dev/zram"):
            continue
        place = name if kind == "partition" else host.check_output(f"findmnt -nvo SOURCE --target {name}")
        real = {place, host.check_output(f"readlink -f {place}").strip()}
        known = real | {path for path in encrypted if host.check_output(f"readlink -f {path}").strip() in real}
        assert known & encrypted, f"La mémoire d'échange {name} est en clair."
    resume = host.run("cat /sys/power/resume").stdout.strip()
    if resume and resume != "0:0":
        number = host.check_output("lsblk --noheadings --raw --output MAJ:MIN,PATH")
        paths = [line.split()[1] for line in number.splitlines() if line.split()[0] == resume]
        assert set(paths) & encrypted, f"La veille prolongée écrit la mémoire en clair ({resume})."


@pytest.mark.control("CHF-07")
def test_no_key_is_of_unknown_origin(host: Any, expected: dict[str, Any]) -> None:
    for disk in declared(host, expected):
        known = {slot for token in disk["header"]["tokens"].values() for slot in token["keyslots"]}
        others = sorted(set(disk["header"]["keyslots"]) - known, key=int)
        # The kit's passphrase is the first slot, and the only one that no token names.
        added = [slot for slot in others if slot != "0"]
        assert not added, f"« {disk['name']} » s'ouvre aussi par une clé inconnue (emplacement {', '.join(added)})."


@pytest.mark.control("CHF-08")
def test_the_tpm_opens_the_system_disk(host: Any, expected: dict[str, Any]) -> None:
    if not expected.get("disk_encryption_root_tpm"):
        tree(host)
        not_applicable("l'ouverture du disque système par la puce TPM n'est pas demandée")
    source = host.check_output("findmnt -nvo SOURCE /")
    below = json.loads(host.check_output(f"lsblk --json --inverse --output PATH,TYPE,FSTYPE {source}"))["blockdevices"]
    path = next((d["path"] for d, _in in _walk(below, inside=False) if d["fstype"] == "crypto_LUKS"), "")
    assert path, "Le disque système n'est pas chiffré : la puce TPM n'a rien à ouvrir."
    metadata = header(host, path)
    assert slots_of(metadata, "systemd-recovery"), "Le disque système n'a pas de clé de secours."
    if host.run("test -e /dev/tpmrm0").rc != 0:
        not_applicable("aucune puce TPM 2.0 : la phrase du disque système se tape à chaque démarrage")
    # The key goes from one program to the other and nowhere else.
    opening = (
        "clevis luks pass -d {path} -s {slot} | tr -d '\\n' |"
        " cryptsetup open --test-passphrase --disable-external-tokens --key-file - --key-slot {slot} {path}"
    )
    tried = [host.run(opening.format(path=path, slot=slot)).rc for slot in slots_of(metadata, "clevis")]
    assert 0 in tried, "La puce TPM n'ouvre pas le disque système."
    image = "/boot/initrd.img-" + host.check_output("uname -r")
    asked = host.run(f"lsinitramfs {image} | grep -qx scripts/local-top/clevis")
    assert asked.rc == 0, f"{image} ne sait pas demander la clé à la puce TPM : la phrase se tape à chaque démarrage."
