"""Places that cannot be read or written: one sentence, exit code 2, nothing half-written.

The rights are real: root loses the capabilities that overlook them. The full and the read-only disk are small file systems
in a mount namespace of their own.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from answers_samples import GOOD
from command_line import tree

ROOT = os.geteuid() == 0
PASSWORD = "un mot de passe assez long"
BOUND = ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner"] if ROOT else []
CLI = [sys.executable, "-m", "antiseche"]


def run(line: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(line, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)


def bound(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a command line as somebody to whom rights apply."""
    return run([*BOUND, *CLI, *words])


def mounted(place: Path, options: str, script: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script where a small file system is mounted; it goes with the script."""
    mount = f"mount -t tmpfs -o {options} none {shlex.quote(str(place))} || exit 99\n"
    namespace = ["unshare", "--mount"] if ROOT else ["unshare", "--map-root-user", "--mount"]
    done = subprocess.run(
        [*namespace, "sh", "-c", mount + script], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    if done.returncode == 99 or "unshare:" in done.stderr:
        pytest.skip(f"this machine lets this user mount nothing: {done.stderr.strip()}")
    return done


def one_sentence(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Expect exit code 2 and one line on stderr that holds these words."""
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    for word in words:
        assert word in done.stderr


@pytest.fixture
def cabinet(practices: Path) -> Path:
    """Return the folder of a practice with good answers, and a vault password beside it."""
    folder = practices / "tilleuls"
    folder.mkdir()
    (folder / "practice.yml").write_text(GOOD, encoding="utf-8")
    secret = practices / "mot-de-passe"
    secret.touch(mode=0o600)
    secret.write_text(PASSWORD, encoding="utf-8")
    return folder


@pytest.fixture
def rights() -> Iterator[Callable[[Path, int], None]]:
    """Change rights, and give them back so that the folder can be cleared."""
    changed: list[tuple[Path, int]] = []

    def change(path: Path, mode: int) -> None:
        changed.append((path, path.stat().st_mode & 0o7777))
        path.chmod(mode)

    yield change
    for path, mode in reversed(changed):
        path.chmod(mode)


READERS = [
    ["check-answers", "tilleuls"],
    ["check-answers", "cabinets/tilleuls/practice.yml"],
    ["new", "lilas", "--from", "cabinets/tilleuls/practice.yml"],
    ["edit", "tilleuls", "--set", "mssante.client=non"],
    ["inventory", "tilleuls"],
    ["bootstrap", "tilleuls"],
    ["envelope", "tilleuls", "--person", "nmodele", "--show"],
    ["doctor", "tilleuls"],
    ["plan", "tilleuls"],
    ["deploy", "tilleuls", "--yes"],
    ["verify", "tilleuls"],
    ["drift", "tilleuls"],
    ["rehearse", "tilleuls", "verify"],
]


@pytest.mark.parametrize("words", READERS, ids=lambda words: " ".join(words))
@pytest.mark.parametrize("closed", ["practice.yml", "."])
def test_answers_that_cannot_be_read(words: list[str], closed: str, cabinet: Path, rights: Callable[[Path, int], None]) -> None:
    before = tree(cabinet.parent)
    rights(cabinet / closed, 0)
    done = bound(*words)
    (cabinet / closed).chmod(before[str((cabinet / closed).relative_to(cabinet.parent))][0] & 0o7777)
    one_sentence(done, "lecture refusée : vérifiez les droits du fichier et de ses dossiers", "practice.yml")
    assert tree(cabinet.parent) == before


WRITERS = [
    (["new", "lilas", "--from", "cabinets/tilleuls/practice.yml"], "."),
    (["new", "tilleuls/lilas", "--from", "cabinets/tilleuls/practice.yml"], "tilleuls"),
    (["edit", "tilleuls", "--set", "mssante.client=non"], "tilleuls"),
    (["inventory", "tilleuls", "--vault-password-file", "cabinets/mot-de-passe"], "tilleuls"),
    (["bootstrap", "tilleuls", "--output", "cabinets/tilleuls/scripts"], "tilleuls"),
]


@pytest.mark.parametrize(("words", "closed"), WRITERS, ids=lambda item: " ".join(item) if isinstance(item, list) else None)
def test_folders_that_cannot_be_written(
    words: list[str], closed: str, cabinet: Path, rights: Callable[[Path, int], None]
) -> None:
    rights(cabinet.parent / closed, 0o555)
    before = tree(cabinet.parent)
    words = [word.replace("tilleuls/lilas", str(cabinet / "lilas")) for word in words]
    one_sentence(bound(*words), "Vérifiez les droits" if words[0] != "inventory" else "droits insuffisants")
    assert tree(cabinet.parent) == before


SCRIPT = """
set -e
cd {place}
mkdir tilleuls lilas
cat {good} > tilleuls/practice.yml
{prepare}
find . -type f -exec sha256sum {{}} + | sort > {before}
set +e
ANTISECHE_PRACTICES={place} {command}
code=$?
find . -type f -exec sha256sum {{}} + | sort > {found}
exit $code
"""
"""Between the two listings nothing may have changed, and no leftover may have appeared."""


def on_a_disk(place: Path, outside: Path, words: list[str], prepare: str) -> subprocess.CompletedProcess[str]:
    """Run a command line on a small disk that holds a practice; what the disk holds must not change."""
    place.mkdir()
    good, secret, before, found = (outside / name for name in ("good", "secret", "before", "found"))
    good.write_text(GOOD, encoding="utf-8")
    secret.touch(mode=0o600)
    secret.write_text(PASSWORD, encoding="utf-8")
    command = shlex.join([*CLI, *(word.format(good=good, secret=secret, place=place) for word in words)])
    script = SCRIPT.format(place=place, good=good, prepare=prepare, command=command, before=before, found=found)
    done = mounted(place, "size=256k", script)
    assert before.read_text() == found.read_text()
    assert "practice.yml" in found.read_text()
    return done


DISK_WORDS = [
    ["new", "{place}/lilas", "--from", "{good}"],
    ["edit", "tilleuls", "--set", "practice.name=Cabinet des Lilas"],
    ["inventory", "tilleuls", "--vault-password-file", "{secret}"],
    ["bootstrap", "tilleuls", "--output", "{place}/lilas"],
]


@pytest.mark.parametrize("words", DISK_WORDS, ids=lambda words: words[0])
def test_a_full_disk(words: list[str], practices: Path, tmp_path: Path) -> None:
    fill = "head -c 1000000 /dev/zero > remplissage 2>/dev/null || true"
    done = on_a_disk(practices / "disque", tmp_path, words, fill)
    one_sentence(done, "disque plein" if words[0] == "inventory" else "disque plein, rien n'a été changé")


@pytest.mark.parametrize("words", DISK_WORDS, ids=lambda words: words[0])
def test_a_read_only_disk(words: list[str], practices: Path, tmp_path: Path) -> None:
    done = on_a_disk(practices / "disque", tmp_path, words, "mount -o remount,bind,ro .")
    one_sentence(done, "disque en lecture seule" if words[0] == "inventory" else "lecture seule")


def test_a_limit_on_file_sizes(cabinet: Path) -> None:
    """What a quota or a limit of the shell does; no privilege is needed to try it."""
    before = tree(cabinet)
    line = shlex.join([*CLI, "edit", "tilleuls", "--set", "practice.name=Cabinet des Lilas"])
    done = run(["bash", "-c", f"trap '' XFSZ; ulimit -f 1; {line}"])
    one_sentence(done, "disque plein, rien n'a été changé")
    assert tree(cabinet) == before


@pytest.mark.parametrize(
    ("make", "words", "message"),
    [
        (lambda folder: folder.touch(), ["new", "lilas", "--from", "{good}"], "est un fichier : choisissez un autre nom"),
        (lambda folder: folder.symlink_to("absent"), ["new", "lilas", "--from", "{good}"], "ce nom est déjà celui d'un fichier"),
        (
            lambda folder: (folder / "practice.yml").mkdir(parents=True),
            ["plan", "lilas"],
            "practice.yml : ce n'est pas un fichier.",
        ),
        (
            lambda folder: (folder.mkdir(), (folder / "practice.yml").symlink_to("absent")),
            ["plan", "lilas"],
            ": lien rompu : sa cible n'existe pas.",
        ),
        (lambda folder: None, ["new", "x" * 300 + "/lilas", "--from", "{good}"], "nom trop long"),
        (lambda folder: None, ["plan", "x" * 300], "introuvable"),
    ],
    ids=["file", "dangling", "folder_named_like_a_file", "dangling_answers", "long_path", "long_name"],
)
def test_names_that_are_something_else(make: Callable[[Path], object], words: list[str], message: str, cabinet: Path) -> None:
    make(cabinet.parent / "lilas")
    before = tree(cabinet.parent)
    one_sentence(bound(*(word.format(good=cabinet / "practice.yml") for word in words)), message)
    assert tree(cabinet.parent) == before


def test_a_file_that_was_closed_to_changes(cabinet: Path, rights: Callable[[Path, int], None]) -> None:
    """Its folder would let anyone replace it; who took the right away meant it."""
    rights(cabinet / "practice.yml", 0o444)
    before = tree(cabinet)
    one_sentence(bound("edit", "tilleuls", "--set", "mssante.client=non"), "écriture refusée")
    assert tree(cabinet) == before


def test_a_link_stays_a_link(cabinet: Path) -> None:
    (cabinet / "practice.yml").rename(cabinet.parent / "ailleurs.yml")
    (cabinet / "practice.yml").symlink_to(cabinet.parent / "ailleurs.yml")
    assert bound("edit", "tilleuls", "--set", "mssante.client=non").returncode == 0
    assert (cabinet / "practice.yml").is_symlink()
    assert "client: false" in (cabinet.parent / "ailleurs.yml").read_text(encoding="utf-8")


@pytest.mark.skipif(not ROOT, reason="only root can give a file to somebody else")
def test_root_leaves_a_file_to_its_owner(cabinet: Path) -> None:
    os.chown(cabinet / "practice.yml", 65534, 65534)
    assert run([*CLI, "edit", "tilleuls", "--set", "mssante.client=non"]).returncode == 0
    status = (cabinet / "practice.yml").stat()
    assert (status.st_uid, status.st_gid) == (65534, 65534)
