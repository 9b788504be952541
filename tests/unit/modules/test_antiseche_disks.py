"""Encrypted disks: what a disk carries, what is refused, keys tried on real LUKS2 headers in ordinary files."""

from __future__ import annotations

import base64
import importlib
import shutil
import subprocess
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from module_process import load

read: Any = importlib.import_module("ansible.module_utils.antiseche_disks_read")
state: Any = importlib.import_module("ansible.module_utils.antiseche_disks_state")
keys: Any = importlib.import_module("ansible.module_utils.antiseche_disks_keys")
root: Any = importlib.import_module("ansible.module_utils.antiseche_disks_root")
volume: Any = importlib.import_module("ansible.module_utils.antiseche_disks_volume")

MIB = 1024 * 1024
PASSPHRASE, RECOVERY = "cbdefghi-jklnrtuv", "vutrnlkj-ihgfedbc"
needs_cryptsetup = pytest.mark.skipif(shutil.which("cryptsetup") is None, reason="cryptsetup is not installed on this machine")


@pytest.fixture
def blank(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    with path.open("wb") as file:
        file.truncate(64 * MIB)
    return path


@pytest.fixture
def luks(blank: Path) -> Path:
    with read.secret_file(PASSPHRASE) as (key, descriptor):
        read.checked(
            *("cryptsetup", "luksFormat", "--batch-mode", "--type", "luks2", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations"),
            *("1000", "--key-file", key, str(blank)),
            fds=[descriptor],
        )
    return blank


def device(path: Path, **seen: Any) -> Any:
    values = {"size": 64 * MIB, "serial": "S1", "read_only": False, "signatures": read.signatures(str(path)), **seen}
    return read.Device(str(path), str(path), **values)


def test_a_blank_disk_is_accepted(blank: Path) -> None:
    assert read.refusal(device(blank)) == ""


@pytest.mark.parametrize("offset", [0, 511, MIB - 1, 64 * MIB - MIB, 64 * MIB - 1])
def test_one_byte_at_either_end_is_enough_to_refuse(blank: Path, offset: int) -> None:
    with blank.open("r+b") as file:
        file.seek(offset)
        file.write(b"\x01")
    assert "n'est pas vierge" in read.refusal(device(blank))


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (["mkfs.ext4", "-q", "-F"], "système de fichiers (ext4)"),
        (["mkswap"], "une signature (swap)"),
    ],
)
def test_what_a_disk_carries_is_named(blank: Path, make: list[str], word: str) -> None:
    if shutil.which(make[0]) is None:
        pytest.skip(f"{make[0]} is not installed on this machine")
    subprocess.run([*make, str(blank)], check=True, capture_output=True)
    assert word in read.refusal(device(blank))


@pytest.mark.parametrize(
    ("seen", "word"),
    [
        ({"signatures": [("crypto_LUKS", "crypto")]}, "volume LUKS que ce kit n'a pas fait"),
        ({"signatures": [("LVM2_member", "raid")]}, "groupe de volumes LVM"),
        ({"signatures": [("linux_raid_member", "raid")]}, "ensemble RAID (linux_raid_member)"),
        ({"signatures": [("gpt", "partition-table"), ("PMBR", "partition-table")]}, "table de partitions"),
        ({"signatures": [("xfs", "filesystem")]}, "système de fichiers (xfs)"),
        ({"signatures": [("new-thing", "other")]}, "une signature (new-thing)"),
        ({"mounts": ["/srv/x"], "signatures": [("ext4", "filesystem")]}, "monté sur /srv/x"),
        ({"holders": ["md0"]}, "utilisé par md0"),
        ({"read_only": True}, "lecture seule"),
        ({"size": MIB}, "trop petit"),
    ],
)
def test_each_refusal_has_its_own_sentence(blank: Path, seen: dict[str, Any], word: str) -> None:
    said = read.refusal(device(blank, **seen))
    assert word in said
    assert "rien n'y est touché" in said


def test_what_is_no_block_device_is_refused(blank: Path) -> None:
    with pytest.raises(read.DiskError, match="n'est pas un disque"):
        read.look(str(blank))
    assert read.look(str(blank) + "-absent") is None


@needs_cryptsetup
def test_keys_are_tried_against_the_header(luks: Path) -> None:
    assert read.opening_slot(str(luks), PASSPHRASE) == "0"
    assert read.opening_slot(str(luks), PASSPHRASE + "x") is None
    assert read.tpm_opens(str(luks)) is False


@needs_cryptsetup
def test_a_key_that_cannot_be_tried_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(read.DiskError, match="n'a pas pu être essayée"):
        read.opening_slot(str(tmp_path / "absent"), PASSPHRASE)


@needs_cryptsetup
def test_a_recovery_key_is_added_once_and_called_what_it_is(luks: Path) -> None:
    before = read.header(str(luks)).digest
    slot = volume.add_recovery(str(luks), PASSPHRASE, RECOVERY)
    after = read.header(str(luks))
    assert after.slots_of("systemd-recovery") == [slot]
    assert after.metadata["keyslots"][slot]["kdf"]["type"] == "argon2id"
    assert after.digest != before
    assert volume.add_recovery(str(luks), PASSPHRASE, RECOVERY) == slot
    assert read.header(str(luks)).digest == after.digest


@needs_cryptsetup
def test_an_enrolment_cut_before_its_token_is_finished(luks: Path) -> None:
    slot = volume.add_recovery(str(luks), PASSPHRASE, RECOVERY)
    read.checked("cryptsetup", "token", "remove", "--token-id", "0", str(luks))
    assert read.header(str(luks)).slots_of("systemd-recovery") == []
    assert volume.add_recovery(str(luks), PASSPHRASE, RECOVERY) == slot
    assert read.header(str(luks)).slots_of("systemd-recovery") == [slot]


@needs_cryptsetup
def test_a_kept_header_is_small_and_brings_a_lost_volume_back(luks: Path, tmp_path: Path) -> None:
    volume.add_recovery(str(luks), PASSPHRASE, RECOVERY)
    module, copy = load("antiseche_disks"), tmp_path / "copy"
    read.checked("cryptsetup", "luksHeaderBackup", str(luks), "--header-backup-file", str(copy))
    small = module.without_noise(copy.read_bytes(), read.header(str(luks)))
    assert len(zlib.compress(small)) < 1.5 * MIB
    copy.chmod(0o600)
    copy.write_bytes(small)
    with luks.open("r+b") as file:
        file.write(bytes(16 * MIB))
    assert read.header(str(luks)) is None
    read.checked("cryptsetup", "luksHeaderRestore", "--batch-mode", "--header-backup-file", str(copy), str(luks))
    assert read.opening_slot(str(luks), RECOVERY) is not None
    assert read.opening_slot(str(luks), PASSPHRASE) is not None


@needs_cryptsetup
def test_a_recovery_key_needs_the_right_passphrase(luks: Path) -> None:
    with pytest.raises(read.DiskError):
        volume.add_recovery(str(luks), "wrong", RECOVERY)
    assert read.header(str(luks)).slots == ["0"]


@needs_cryptsetup
@pytest.mark.parametrize("damage", [b"\0" * 16, b"LUKS\xba\xbe\0\x02" + b"\xff" * 8])
def test_a_torn_header_is_no_header(blank: Path, damage: bytes) -> None:
    with blank.open("r+b") as file:
        file.write(damage)
    assert read.header(str(blank)) is None


def test_secrets_are_never_arguments(blank: Path) -> None:
    with read.secret_file(PASSPHRASE) as (path, descriptor):
        assert path == f"/proc/self/fd/{descriptor}"
        assert Path(path).read_text() == PASSPHRASE
        assert Path(path).read_text() == PASSPHRASE  # read twice: cryptsetup opens it anew


def test_a_failing_command_tells_no_argument() -> None:
    with pytest.raises(read.DiskError) as told:
        read.checked("sh", "-c", "echo broken >&2; exit 3", "secret")
    assert "broken" in str(told.value)
    assert "secret" not in str(told.value)
    with pytest.raises(read.DiskError, match="n'est pas installé"):
        read.run("no-such-command")


class TestMemory:
    def test_it_is_for_one_volume_on_one_disk(self, tmp_path: Path) -> None:
        memory = state.Memory(tmp_path / "disks", "donnees")
        assert memory.phase("u1", None) == ""
        memory.remember(phase=state.FORMATTING, uuid="u1", identity={"size": 1, "serial": "S"})
        again = state.Memory(tmp_path / "disks", "donnees")
        assert again.phase("u1", {"size": 1, "serial": "S"}) == state.FORMATTING
        assert again.phase("u1", {"size": 2, "serial": "S"}) == ""
        assert again.phase("u2", None) == ""
        assert again.path.stat().st_mode & 0o777 == 0o600

    @pytest.mark.parametrize("text", ["", "{", "[]", '"x"', "\xff"])
    def test_a_damaged_memory_remembers_nothing(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "donnees.json").write_bytes(text.encode("latin-1"))
        assert state.Memory(tmp_path, "donnees").phase("u1", None) == ""

    def test_another_key_or_header_is_tried_again(self) -> None:
        marks = {state.tried("d", "a", "b"), state.tried("e", "a", "b"), state.tried("d", "c", "b"), state.tried("d", "a", "c")}
        assert len(marks) == 4


class TestTables:
    def test_an_entry_is_added_and_the_rest_stays(self) -> None:
        old = "# comment\nroot UUID=1 none luks"
        new = state.with_entry(old, 0, "donnees", "donnees UUID=2 none luks")
        assert new == old + "\ndonnees UUID=2 none luks\n"
        assert state.with_entry(new, 0, "donnees", "donnees   UUID=2\tnone luks") == new

    def test_an_entry_is_put_right_where_it_stands(self) -> None:
        old = "a x\n#b commented\nb wrong\nc y\n"
        assert state.with_entry(old, 0, "b", "b right") == "a x\n#b commented\nb right\nc y\n"

    def test_an_entry_that_stands_twice_is_for_a_person(self) -> None:
        with pytest.raises(ValueError, match="deux fois"):
            state.with_entry("b 1\nb 2\n", 0, "b", "b 3")

    def test_bytes_that_are_no_text_survive(self, tmp_path: Path) -> None:
        path = tmp_path / "fstab"
        path.write_bytes(b"# caf\xe9\n")
        state.write_whole(path, state.with_entry(state.read_table(path), 1, "/srv", "x /srv ext4"), 0o644)
        assert path.read_bytes() == b"# caf\xe9\nx /srv ext4\n"


class TestVolume:
    """The decisions, on a disk that is an ordinary file."""

    @pytest.fixture
    def made(self, blank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
        def look(path: str) -> Any:
            return device(Path(path)) if Path(path).exists() else None

        monkeypatch.setattr(volume, "look", look)
        monkeypatch.setattr(volume, "has_tpm", lambda: False)
        for name in ("STATE", "MAPPER", "BY_UUID", "CRYPTTAB", "FSTAB"):
            monkeypatch.setattr(volume, name, tmp_path / name.lower())
        return volume  # type: ignore[no-any-return]

    def of(self, path: Path, tmp_path: Path, uuid: str = "7d5b6d0e-3f0c-4a1e-9a55-d7d3c4b2a190") -> Any:
        return volume.Volume(volume.Wanted("donnees", str(path), str(tmp_path / "mount"), False, uuid, PASSPHRASE, RECOVERY))

    @pytest.mark.usefixtures("made")
    def test_everything_is_missing_on_a_blank_disk_but_a_tpm(self, blank: Path, tmp_path: Path) -> None:
        found = self.of(blank, tmp_path)
        assert found.problem() == ""
        assert found.missing() == [step for step in volume.STEPS if step != "TPM unlock"]

    @pytest.mark.usefixtures("made")
    def test_an_absent_disk_is_told(self, tmp_path: Path) -> None:
        assert "introuvable" in self.of(tmp_path / "none", tmp_path).problem()

    @pytest.mark.usefixtures("made")
    def test_bytes_of_our_own_cut_formatting_are_taken_up_again_and_others_not(self, blank: Path, tmp_path: Path) -> None:
        with blank.open("r+b") as file:
            file.write(b"LUKS\xba\xbe\0\x02torn")
        found = self.of(blank, tmp_path)
        assert "n'est pas vierge" in found.problem() or "LUKS" in found.problem()
        found.memory.remember(phase=state.FORMATTING, uuid=found.wanted.uuid, identity={"size": 64 * MIB, "serial": "other"})
        assert found.problem() != ""
        with blank.open("r+b") as file:
            file.write(b"\x07" * 512)
        found = self.of(blank, tmp_path)
        assert "n'est pas vierge" in found.problem()
        found.memory.remember(phase=state.FORMATTING, uuid=found.wanted.uuid, identity=found.device.identity)
        assert found.problem() == ""

    @needs_cryptsetup
    @pytest.mark.usefixtures("made")
    def test_a_torn_header_is_taken_up_again_only_with_our_number_and_our_note(self, luks: Path, tmp_path: Path) -> None:
        uuid = read.header(str(luks)).uuid
        with luks.open("r+b") as file:
            file.seek(4096)
            file.write(bytes(16 * MIB - 4096))  # the magic and the number stand, nothing behind them
        assert read.header(str(luks)) is None
        found = self.of(luks, tmp_path, uuid)
        assert "que ce kit n'a pas fait" in found.problem()
        found.memory.remember(phase=state.FORMATTING, uuid=uuid, identity=found.device.identity)
        assert found.problem() == ""
        other = self.of(luks, tmp_path)
        other.memory.remember(phase=state.FORMATTING, uuid=other.wanted.uuid, identity=other.device.identity)
        assert "que ce kit n'a pas fait" in other.problem()

    @pytest.mark.usefixtures("made")
    def test_somebody_elses_file_system_is_refused_even_after_a_cut(self, blank: Path, tmp_path: Path) -> None:
        found = self.of(blank, tmp_path)
        found.memory.remember(phase=state.FORMATTING, uuid=found.wanted.uuid, identity=found.device.identity)
        subprocess.run(["mkfs.ext4", "-q", "-F", str(blank)], check=True)
        assert "système de fichiers" in self.of(blank, tmp_path).problem()

    @pytest.mark.usefixtures("made")
    def test_a_volume_that_was_made_is_never_made_again_on_a_blank_disk(self, blank: Path, tmp_path: Path) -> None:
        found = self.of(blank, tmp_path)
        found.memory.remember(phase=state.MADE, uuid=found.wanted.uuid, identity={"size": 1, "serial": "gone"})
        assert "a déjà existé" in found.problem()

    @needs_cryptsetup
    @pytest.mark.usefixtures("made")
    def test_a_foreign_luks_volume_is_refused(self, luks: Path, tmp_path: Path) -> None:
        assert "que ce kit n'a pas fait" in self.of(luks, tmp_path).problem()

    @needs_cryptsetup
    @pytest.mark.usefixtures("made")
    def test_our_volume_with_another_passphrase_stops_with_a_sentence(self, luks: Path, tmp_path: Path) -> None:
        uuid = read.header(str(luks)).uuid
        found = volume.Volume(volume.Wanted("donnees", str(luks), str(tmp_path / "m"), False, uuid, "other", RECOVERY))
        assert "ne s'ouvre pas avec la phrase du coffre" in found.problem()
        assert self.of(luks, tmp_path, uuid).problem() == ""

    @pytest.mark.usefixtures("made")
    def test_files_below_the_mount_point_are_not_hidden(self, blank: Path, tmp_path: Path) -> None:
        (tmp_path / "mount").mkdir()
        (tmp_path / "mount" / "lettre.txt").touch()
        assert "contient déjà des fichiers" in self.of(blank, tmp_path).problem()


class TestRootDisk:
    """A system disk that somebody encrypted, in an ordinary file."""

    @pytest.fixture
    def disk(self, luks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setattr(root, "encrypted_ancestor", lambda: str(luks))
        monkeypatch.setattr(root, "look", lambda path: device(Path(path)))
        monkeypatch.setattr(root, "STATE", tmp_path / "state")
        return luks

    @needs_cryptsetup
    def test_it_gets_the_vaults_recovery_key_once(self, disk: Path) -> None:
        found = root.RootDisk({"passphrase": PASSPHRASE, "recovery_key": RECOVERY})
        assert (found.problem(), found.missing()) == ("", ["recovery key"])
        found.do("recovery key")
        assert found.missing() == []
        assert read.opening_slot(str(disk), RECOVERY) in read.header(str(disk)).slots_of("systemd-recovery")
        assert root.RootDisk({"passphrase": PASSPHRASE, "recovery_key": RECOVERY}).missing() == []

    @needs_cryptsetup
    @pytest.mark.usefixtures("disk")
    def test_a_wrong_passphrase_stops_with_a_sentence(self) -> None:
        assert "n'ouvre pas le disque système" in root.RootDisk({"passphrase": "other", "recovery_key": RECOVERY}).problem()

    @pytest.mark.parametrize(
        "keys", [{}, {"passphrase": PASSPHRASE}, {"recovery_key": RECOVERY}, {"passphrase": "", "recovery_key": "x"}]
    )
    @pytest.mark.usefixtures("disk")
    @needs_cryptsetup
    def test_half_of_the_keys_is_told(self, keys: dict[str, str]) -> None:
        with pytest.raises(read.DiskError, match="lancez « antiseche inventory »"):
            root.RootDisk(keys)

    def test_a_system_in_the_clear_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(root, "encrypted_ancestor", lambda: "")
        with pytest.raises(read.DiskError, match="n'est pas chiffré"):
            root.RootDisk({"passphrase": PASSPHRASE, "recovery_key": RECOVERY})


class FakeClevis:
    """Bindings kept in a real header, by a TPM that may be lost or cut in the middle."""

    def __init__(self, path: Path) -> None:
        self.path, self.tpm, self.cut = str(path), "tpm-1", False

    def bind(self, path: str, passphrase: str) -> None:
        before = read.header(path).slots
        self.add(passphrase, self.tpm)
        if self.cut:
            raise read.DiskError("the power went")
        (slot,) = set(read.header(path).slots) - set(before)
        protected = base64.urlsafe_b64encode(b'{"clevis":{"pin":"tpm2"}}').decode().rstrip("=")
        keys._import_token(path, {"type": "clevis", "keyslots": [slot], "jwe": {"protected": protected}})

    def add(self, passphrase: str, key: str, *pbkdf: str) -> None:
        words = pbkdf or ("--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000")
        with read.secret_file(passphrase) as (old, first), read.secret_file(key) as (new, second):
            read.checked("cryptsetup", "luksAddKey", "-q", *words, "--key-file", old, self.path, new, fds=[first, second])

    def unbind(self, path: str, slot: str) -> None:
        with read.secret_file(PASSPHRASE) as (key, descriptor):
            read.checked("cryptsetup", "luksKillSlot", "-q", "--key-file", key, path, slot, fds=[descriptor])

    def opens(self, path: str, slot: str) -> bool:
        return read.opening_slot(path, self.tpm, slot) == slot


@needs_cryptsetup
class TestRootUnlock:
    """The system disk's binding to the TPM, on a real header in an ordinary file."""

    @pytest.fixture
    def fake(self, luks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeClevis:
        made = FakeClevis(luks)
        monkeypatch.setattr(root, "encrypted_ancestor", lambda: str(luks))
        monkeypatch.setattr(root, "look", lambda path: device(Path(path)))
        monkeypatch.setattr(root, "STATE", tmp_path / "state")
        monkeypatch.setattr(root, "has_tpm", lambda: True)
        for name in ("bind", "unbind", "opens"):
            monkeypatch.setattr(root.clevis, name, getattr(made, name))
        monkeypatch.setattr(root.boot, "supported", lambda: True)
        monkeypatch.setattr(root.boot, "HOOK", tmp_path / "hook")
        return made

    def disk(self) -> Any:
        return root.RootDisk({"passphrase": PASSPHRASE, "recovery_key": RECOVERY}, tpm=True)

    def converge(self) -> list[str]:
        found = self.disk()
        steps: list[str] = found.missing()
        for step in steps:
            found.do(step)
        assert found.missing() == []
        return steps

    @pytest.mark.usefixtures("fake")
    def test_recovery_key_first_then_the_tpm_and_then_nothing(self) -> None:
        assert self.converge() == ["recovery key", "TPM unlock"]
        assert self.converge() == []

    def test_a_lost_tpm_is_bound_again_and_its_old_binding_goes(self, fake: FakeClevis) -> None:
        self.converge()
        fake.tpm = "tpm-2"
        assert self.converge() == ["TPM unlock"]
        found = read.header(fake.path)
        assert len(found.slots) == 3
        assert found.loose == ["0"]
        assert len(found.tokens("clevis")) == 1

    def test_a_cut_between_slot_and_token_leaves_nothing_after_the_next_run(self, fake: FakeClevis) -> None:
        fake.cut = True
        found = self.disk()
        found.do("recovery key")
        with pytest.raises(read.DiskError):
            found.do("TPM unlock")
        assert len(read.header(fake.path).loose) == 2
        fake.cut = False
        assert self.converge() == ["TPM unlock"]
        assert read.header(fake.path).loose == ["0"]
        assert read.opening_slot(fake.path, PASSPHRASE) == "0"
        assert read.opening_slot(fake.path, RECOVERY) is not None

    @pytest.mark.parametrize("when", ["before", "meanwhile"])
    def test_a_key_of_somebody_is_never_taken_away(self, fake: FakeClevis, when: str) -> None:
        argon = ("--pbkdf", "argon2id", "--pbkdf-memory", "32", "--pbkdf-force-iterations", "4", "--pbkdf-parallel", "1")
        if when == "before":
            fake.add(PASSPHRASE, "somebody")  # derived as clevis does it, even
        fake.cut = True
        with pytest.raises(read.DiskError):
            self.disk().do("TPM unlock")
        if when == "meanwhile":
            fake.add(PASSPHRASE, "somebody", *argon)
        fake.cut = False
        self.converge()
        assert read.opening_slot(fake.path, "somebody") is not None
        assert len(read.header(fake.path).loose) == 2

    @pytest.mark.usefixtures("fake")
    def test_images_without_clevis_are_made_anew_once_it_is_installed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.converge()
        (tmp_path / "hook").touch()
        asked: list[bool] = []
        monkeypatch.setattr(root.boot, "mark", lambda: f"m{len(asked)}")
        monkeypatch.setattr(root.boot, "asks_the_tpm", lambda: bool(asked))
        monkeypatch.setattr(root.boot, "rebuild", lambda: asked.append(True))
        assert self.converge() == ["boot image"]
        self.disk().settle()
        monkeypatch.setattr(root.boot, "asks_the_tpm", lambda: pytest.fail("unpacked again though nothing changed"))
        assert self.converge() == []

    @pytest.mark.usefixtures("fake")
    def test_a_machine_that_starts_otherwise_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(root.boot, "supported", lambda: False)
        assert "ne démarre pas par initramfs-tools" in self.disk().problem()
