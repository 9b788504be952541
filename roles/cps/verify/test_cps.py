"""Checks of the professional card: what the card service, the library, the browsers and the watcher answer.

No code is ever asked for, kept or sent: neither ``--login`` nor any command to the card beyond what its reader reads on
insertion. The tables are written here again, on purpose: a check that read the role's own would agree with its mistakes.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from antiseche.verify.checks import not_applicable, remark

LIBRARY = "/opt/santesocial/CPS/lib/libcps3_pkcs11_lux.so"
PROVENANCE = "/usr/share/antiseche-cryptolib-cps/provenance.json"
PACKAGE = "antiseche-cryptolib-cps"
FOLDERS = "/opt/santesocial /etc/opt/santesocial /var/opt/santesocial /usr/local/galss"
FLOOR = (5, 2, 1)
WATCH = "antiseche-card-watch.service"
NOT_SUPPLIED = "intergiciel non fourni"
# Answers to reset, x: any digit.
CARDS = {
    "CPS3": ("3bxxxxxxxx001225006480xxxxxx009000", "3b8f80010031b864xxxxecc0739401808290000e"),
    "CPS4": (
        "3b9b188001001225006480040100009044",
        "3b9b188001001225006480000401009044",
        "3bdc18ff00001225006480000401009000",
    ),
}
# Screen lockers that obey logind's signal, by package; without any of them a graphical session stays open.
LOCKERS = (
    "gnome-shell plasma-workspace kscreenlocker light-locker xfce4-screensaver cinnamon-screensaver cinnamon mate-screensaver"
    " xss-lock swayidle"
).split()
DISPLAY_MANAGERS = "gdm3 sddm lightdm lxdm xdm greetd".split()
TABLE = "/usr/local/lib/antiseche/cards.json"
# A real CPS3's answer to reset, and the one that CPS4 cards give.
EXAMPLES = {"CPS3": 0x3BAC00402A001225006480000310009000, "CPS4": 0x3B9B188001001225006480040100009044}
AUTHORITIES = {
    "4B23D44DC5CBDA230FC052DFF52407EDAF373C69": "2D9E22CA19F777C6",
    "B6BA1D6D5224BCEDA95A67F6F37B86896EDD0006": "5891815E864506C6",
    "BBE751C8B107ACD29F7D12E0FCDD717E00138764": "53D30A19570826BD",
    "2CBFA991750AF778348B3156C21609A1AB45A848": "D834EE5B40686B73",
    "86A0DE3D866E2DB5095F6785A57FD5CC53B2F049": "19C1EAEAB477B6FB",
    "EA8752036E115EE8AA1653672289074A24B23994": "C0520A2B14FB6883",
    "E0D6E1D8481FED62C65C53ED9DFCDA949C3D1D81": "6C339EBCB3E1B010",
    "7C3AF35B76FE34699FBC72C6A340BC7F1AC4D854": "23F69674002D1DD4",
    "AA6131E760B95622C0F4C2AA9D985002C21F3A0C": "38284E4F6107456E",
}
SUBJECTS = r"""
for file in /usr/local/share/ca-certificates/*.crt /usr/local/share/ca-certificates/*/*.crt \
    /etc/opt/santesocial/CPS/Coffre/*; do
  [ -f "$file" ] || continue
  for form in PEM DER; do
    openssl x509 -inform $form -in "$file" -noout -subject 2>/dev/null | sed "s|^|$file: |" && break
  done
done; true
"""
BUNDLE = r"""
import base64, hashlib, re
text = open("/etc/ssl/certs/ca-certificates.crt", encoding="ascii", errors="replace").read()
for body in re.findall("-----BEGIN CERTIFICATE-----(.*?)-----END", text, re.S):
    der = base64.b64decode(body)
    print(hashlib.sha1(der).hexdigest().upper(), hashlib.sha256(der).hexdigest().upper())
"""
OLD = re.compile(r"GIP-CPS|AC-CLASSE-[456]")


def need_reader(expected: dict[str, Any]) -> None:
    """The role concerns machines with a reader."""
    if not expected.get("cps_reader"):
        not_applicable("Aucun lecteur de carte n'est déclaré sur cette machine.")


def need_middleware(expected: dict[str, Any], host: Any) -> None:
    """What depends on the middleware is said once, by CPS-02."""
    need_reader(expected)
    if not expected.get("cps_middleware") and host.run(f"test -e {LIBRARY}").rc != 0:
        not_applicable(f"{NOT_SUPPLIED.capitalize()} : voir CPS-02.")


def installed(host: Any) -> set[str]:
    """Return the installed packages."""
    lines = host.check_output("dpkg-query -W -f '${db:Status-Status} ${Package}\\n'").splitlines()
    return {line.split()[1] for line in lines if line.startswith("installed ")}


def unit(host: Any, name: str) -> dict[str, str]:
    """Return what systemd says of a unit."""
    output = host.check_output(f"systemctl show -p LoadState,ActiveState,SubState,UnitFileState,ExecStart {name}")
    return dict(line.partition("=")[::2] for line in output.splitlines())


def card_name(atr: str) -> str:
    """Return the card's name by its answer to reset, empty when it is no professional card."""
    atr = re.sub(r"[^0-9a-f]", "", atr.lower())
    for name, forms in CARDS.items():
        if any(len(form) == len(atr) and all(a in ("x", b) for a, b in zip(form, atr, strict=True)) for form in forms):
            return name
    return ""


@pytest.mark.control("CPS-01")
def test_the_card_service_answers(host: Any, expected: dict[str, Any]) -> None:
    need_reader(expected)
    missing = {"pcscd", "libccid"} - installed(host)
    assert not missing, f"Paquets manquants : {', '.join(sorted(missing))}."
    socket = unit(host, "pcscd.socket")
    assert socket["UnitFileState"] == "enabled", f"pcscd.socket ne démarrera pas ({socket['UnitFileState'] or 'absent'})."
    assert socket["ActiveState"] == "active", f"pcscd.socket est à l'arrêt ({socket['ActiveState']})."
    done = host.run("opensc-tool --list-readers")
    said = (done.stdout + done.stderr).strip()
    # Without a reader opensc-tool says so; another sentence means that the service itself does not answer.
    answers = done.rc == 0 and ("No smart card readers found" in said or "Detected readers" in said)
    assert answers, f"Le service des cartes ne répond pas : {said[:200] or done.rc}."


@pytest.mark.control("CPS-02")
def test_the_middleware_is_the_agreed_one(host: Any, expected: dict[str, Any]) -> None:
    need_reader(expected)
    agreed = expected.get("cps_middleware") or {}
    state = host.run(f"dpkg-query -W -f '${{db:Status-Status}}' {PACKAGE}").stdout
    if not agreed and state != "installed":
        pytest.fail(f"{NOT_SUPPLIED.capitalize()} : la Cryptolib CPS de l'ANS n'est pas installée sur cette machine.")
    assert state == "installed", "La Cryptolib CPS n'est pas installée, alors que les réponses la donnent."
    record = json.loads(host.check_output(f"cat {PROVENANCE}"))
    if agreed:
        digest = agreed["sha256"].lower()
        assert record["sha256"] == digest, f"Installée depuis un autre fichier : empreinte {record['sha256']}, convenue {digest}."
        assert record["version"] == agreed["version"], f"Version {record['version']}, convenue {agreed['version']}."
    version = tuple(int(part) for part in record["version"].split("."))
    assert version >= FLOOR, f"Version {record['version']} : trop ancienne, {'.'.join(map(str, FLOOR))} au moins."
    found = host.check_output(f"sha256sum {LIBRARY}").split()[0]
    digests = record["libraries"][LIBRARY]
    assert found == digests["installed_sha256"], (
        f"La bibliothèque a changé : empreinte {found}, notée {digests['installed_sha256']}."
    )
    changed = host.run(f"dpkg --verify {PACKAGE}").stdout.strip()
    assert not changed, f"Fichiers modifiés depuis l'installation : {changed[:300]}."
    how = "pile exécutable retirée" if digests["stack_cleared"] else "inchangée"
    remark(
        f"{record['file']} (SHA-256 {record['sha256']}) ; bibliothèque {how}, SHA-256 {found}, origine {digests['vendor_sha256']}"
    )


@pytest.mark.control("CPS-03")
def test_the_middleware_loads(host: Any, expected: dict[str, Any]) -> None:
    need_middleware(expected, host)
    done = host.run(f"pkcs11-tool --module {LIBRARY} --show-info")
    maker = re.search(r"^Manufacturer\s+(.*?)\s*$", done.stdout, re.MULTILINE)
    assert maker, f"La bibliothèque ne se charge pas : {(done.stderr + done.stdout).strip()[:200]}."
    assert maker[1] == "ANS", f"La bibliothèque se dit de « {maker[1]} », « ANS » attendu."
    modules = host.run("p11-kit list-modules").stdout
    assert re.search(r"library-manufacturer: ANS\b", modules), "Les logiciels du système (p11-kit) ne voient pas l'intergiciel."


@pytest.mark.control("CPS-04")
def test_nobody_else_can_change_the_middleware(host: Any, expected: dict[str, Any]) -> None:
    need_reader(expected)
    assert host.run("test -e /tmp/CPS || test -L /tmp/CPS").rc != 0, (
        "Le dossier CPS existe dans /tmp : le script de l'éditeur y lirait des commandes, comme administrateur."
    )
    if host.run(f"test -e {LIBRARY}").rc != 0:
        not_applicable(f"{NOT_SUPPLIED.capitalize()} : voir CPS-02.")
    wrong = host.run(rf"find {FOLDERS} ! -type l \( -perm /022 -o ! -user root \) 2>/dev/null")
    names = wrong.stdout.split("\n")[:5]
    assert not wrong.stdout.strip(), f"Modifiables par d'autres que root : {', '.join(name for name in names if name)}."


@pytest.mark.control("CPS-05")
def test_browsers_know_the_card(host: Any, expected: dict[str, Any]) -> None:
    need_middleware(expected, host)
    browsers = {"firefox-esr", "firefox", "chromium", "google-chrome-stable", "microsoft-edge-stable"} & installed(host)
    if not browsers:
        not_applicable("Aucun navigateur n'est installé sur cette machine.")
    if browsers & {"firefox-esr", "firefox"}:
        text = host.run("cat /etc/firefox/policies/policies.json").stdout
        assert text.strip(), "Firefox n'a pas de règle pour la carte (/etc/firefox/policies/policies.json)."
        devices = json.loads(text).get("policies", {}).get("SecurityDevices", {})
        known = devices.get("Add", devices)
        assert LIBRARY in known.values(), "Les règles de Firefox ne déclarent pas l'intergiciel CPS."
        assert all(name.isascii() for name, path in known.items() if path == LIBRARY), "Le nom du module n'est pas en ASCII."
    if browsers - {"firefox-esr", "firefox"}:
        for login in expected.get("cps_people", []):
            home = host.run(f"getent passwd {login}").stdout.split(":")[5:6]
            if not home or host.run(f"test -d {home[0]}").rc != 0:
                continue
            # As the person, so that a link of theirs cannot lead the check elsewhere.
            listed = host.run(f"runuser -u {login} -- modutil -dbdir sql:{home[0]}/.pki/nssdb -rawlist </dev/null").stdout
            assert f'library="{LIBRARY}"' in listed or f"library={LIBRARY}" in listed, (
                f"Chromium de {login} ne connaît pas l'intergiciel CPS."
            )


@pytest.mark.control("CPS-06")
def test_the_session_locks_when_the_card_leaves(host: Any, expected: dict[str, Any]) -> None:
    need_reader(expected)
    if not expected.get("cps_lock", True):
        not_applicable("Le cabinet a choisi de ne pas verrouiller au retrait de la carte.")
    seen = unit(host, WATCH)
    assert seen["UnitFileState"] == "enabled", (
        f"La surveillance de la carte ne démarrera pas ({seen['UnitFileState'] or 'absente'})."
    )
    assert (seen["ActiveState"], seen["SubState"]) == ("active", "running"), (
        f"La surveillance de la carte est à l'arrêt ({seen['ActiveState']})."
    )
    assert "/usr/local/lib/antiseche/card-watch" in seen["ExecStart"], "La surveillance de la carte lance autre chose."
    owner = host.check_output("stat -c '%U %a' /usr/local/lib/antiseche/card-watch /usr/local/lib/antiseche/lock-text-session")
    assert owner.splitlines() == ["root 755", "root 755"], f"La surveillance peut être modifiée par d'autres ({owner})."
    assert host.run("command -v vlock").rc == 0, "vlock manque : une session en mode texte resterait ouverte."
    if "cps_cards" not in expected:
        table = [(int(row["atr"], 16), int(row["mask"], 16)) for row in json.loads(host.file(TABLE).content_string)]
        unknown = [name for name, atr in EXAMPLES.items() if not any(atr & mask == wanted & mask for wanted, mask in table)]
        assert not unknown, f"La surveillance ne reconnaît pas les cartes {', '.join(unknown)}."
    # The service has a network space of its own: a connection to pcscd that is seen there is its own. It really watches.
    pid = host.check_output(f"systemctl show -p MainPID --value {WATCH}").strip()
    sockets = [line.split() for line in host.run(f"cat /proc/{pid}/net/unix").stdout.splitlines()]
    connected = any(one[5:6] == ["03"] and one[-1] == "/run/pcscd/pcscd.comm" for one in sockets)
    assert connected, "La surveillance de la carte n'écoute pas le service des cartes."
    packages = installed(host)
    if packages & set(DISPLAY_MANAGERS):
        assert packages & set(LOCKERS), (
            "Aucun verrouilleur d'écran connu n'est installé : une session graphique resterait ouverte."
        )


@pytest.mark.control("CPS-07")
def test_the_reader_is_seen_and_the_card_usable(host: Any, expected: dict[str, Any]) -> None:
    need_reader(expected)
    if host.run("systemd-detect-virt --container").rc == 0:
        not_applicable("Un conteneur n'a pas de port USB : aucun lecteur ne peut s'y voir.")
    listed = host.run("opensc-tool --list-readers").stdout
    rows = [line for line in listed.splitlines() if re.match(r"^\d+\s+(Yes|No)\s", line)]
    assert rows, "Aucun lecteur de carte n'est vu : est-il branché ?"
    if not any(re.match(r"^\d+\s+Yes", row) for row in rows):
        remark("lecteur vu, sans carte au moment du contrôle")
        return
    number = next(row.split()[0] for row in rows if re.match(r"^\d+\s+Yes", row))
    atr = host.run(f"opensc-tool --reader {number} --atr").stdout.strip()
    name = card_name(atr)
    if not name:
        remark(f"la carte présente n'est pas une carte CPS connue (ATR {atr})")
        return
    remark(f"carte {name} présente")
    if host.run(f"test -e {LIBRARY}").rc == 0:
        flags = host.run(f"pkcs11-tool --module {LIBRARY} --list-slots").stdout.lower()
        assert "user pin locked" not in flags, "Le code de la carte est bloqué : trois codes faux d'affilée."
        for sign, text in (("final user pin try", "il ne reste qu'un essai"), ("user pin count low", "un code faux a été tapé")):
            if sign in flags:
                remark(f"code de la carte : {text}")


@pytest.mark.control("CPS-08")
def test_authorities_are_the_true_ones(host: Any, expected: dict[str, Any]) -> None:
    need_reader(expected)
    old = [line for line in host.check_output(SUBJECTS).splitlines() if OLD.search(line.partition("subject")[2])]
    assert not old, f"Anciennes autorités GIP-CPS encore présentes : {'; '.join(old)[:300]}."
    if not expected.get("cps_install_authorities"):
        remark("autorités IGC-Santé non demandées par le cabinet")
        return
    need_middleware(expected, host)
    trusted = dict(line.split() for line in host.check_output("python3 -c %s", BUNDLE).splitlines())
    wanted = {row["sha1"].upper(): row["sha256"].upper() for row in expected.get("cps_authorities", [])} or AUTHORITIES
    missing = [sha1 for sha1, start in wanted.items() if not trusted.get(sha1, "").startswith(start)]
    assert not missing, f"Autorités IGC-Santé absentes du magasin de la machine : {', '.join(missing)}."
