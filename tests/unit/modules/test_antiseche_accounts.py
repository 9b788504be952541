"""The planner of accounts: what it changes, what it never changes, and that a second pass finds nothing."""

from __future__ import annotations

import copy
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

PLUGINS = Path(__file__).parents[3] / "plugins"


def load(name: str, path: Path) -> ModuleType:
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


planner = load("ansible.module_utils.antiseche_accounts_plan", PLUGINS / "module_utils/antiseche_accounts_plan.py")
module = load("antiseche_accounts_under_test", PLUGINS / "modules/antiseche_accounts.py")
Account, State, plan = planner.Account, planner.State, planner.plan

ROOT = Account(0, 0, "root", "/root", "/bin/bash", "*")
MAINTENANCE = Account(999, 999, "", "/home/antiseche", "/bin/bash", "*")


def person(login: str = "anne", **more: Any) -> dict[str, Any]:
    return {"login": login, "name": login.title(), "groups": [], "state": "active", "expires": "", **more}


def account(uid: int = 1001, name: str = "Anne", **more: Any) -> Any:
    values = {"hash": "$y$j9T$x", "home": "/home/anne", "home_mode": 0o700, "home_uid": uid, **more}
    return Account(uid, uid, name, **values)


def state(**accounts: Any) -> Any:
    return State({"root": copy.copy(ROOT), "antiseche": copy.copy(MAINTENANCE), **accounts}, {})


def wanted(*people: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"people": list(people), "groups": [], "maintenance_user": "antiseche", **more}


def texts(found: Any, want: dict[str, Any]) -> list[str]:
    return [change.text for change in plan(found, want)]


def steps(found: Any, want: dict[str, Any]) -> list[tuple[str, ...]]:
    return [step for change in plan(found, want) for step in change.steps]


def test_nothing_wanted_changes_nothing() -> None:
    assert texts(state(anne=account(), eve=account(1002)), {"people": None}) == []


def test_a_person_who_is_as_wanted_is_left_alone() -> None:
    assert texts(state(anne=account()), wanted(person())) == []


def test_a_new_person_gets_a_private_home_and_a_password_to_change() -> None:
    want = wanted(person(groups=["g"]), groups=["g"], initial_passwords={"anne": "S3cret"})
    assert texts(state(), want) == [
        "group g: created",
        "account anne: created",
        "password anne: first password, to be changed at first logon",
        "group g: +anne",
    ]
    made = steps(state(), want)
    assert ("password", "anne") in made
    assert ("run", "chage", "-d", "0", "--", "anne") in made
    assert "HOME_MODE=0700" in next(step for step in made if step[1] == "useradd")


def test_no_secret_in_the_plan() -> None:
    want = wanted(person(), initial_passwords={"anne": "S3cret"})
    assert "S3cret" not in repr(plan(state(), want))


@pytest.mark.parametrize("hashed", ["!", "!!", "*", ""])
def test_an_interrupted_creation_is_finished(hashed: str) -> None:
    want = wanted(person(), initial_passwords={"anne": "S3cret"})
    assert texts(state(anne=account(hash=hashed)), want) == ["password anne: first password, to be changed at first logon"]


@pytest.mark.parametrize("hashed", ["$y$j9T$x", "$6$x", "!$y$j9T$x"])
def test_a_password_chosen_or_locked_by_hand_is_never_replaced(hashed: str) -> None:
    want = wanted(person(), initial_passwords={"anne": "S3cret"})
    assert texts(state(anne=account(hash=hashed)), want) == []


def test_an_empty_password_without_a_first_one_is_locked() -> None:
    assert texts(state(anne=account(hash="")), wanted(person())) == ["password anne: empty, locked"]


def test_expiry_is_set_changed_and_removed() -> None:
    locum = person(expires="2027-06-01")
    assert texts(state(anne=account()), wanted(locum)) == ["account anne: expires 2027-06-01"]
    assert steps(state(anne=account()), wanted(locum)) == [("run", "chage", "-E", "20970", "--", "anne")]
    assert texts(state(anne=account(expires=20970)), wanted(locum)) == []
    assert texts(state(anne=account(expires=20970)), wanted(person())) == ["account anne: no expiry"]


def test_somebody_who_left_is_locked_not_deleted() -> None:
    made = plan(state(anne=account()), wanted(person(state="locked")))
    assert [change.text for change in made] == ["account anne: locked (left)"]
    assert made[0].steps[0][:5] == ("run", "usermod", "-L", "-e", "1970-01-02")
    assert not any("del" in word for change in made for step in change.steps for word in step)


def test_somebody_who_left_and_has_no_account_gets_none() -> None:
    assert texts(state(), wanted(person(state="locked"))) == []


@pytest.mark.parametrize(
    "damage",
    [{"expires": None}, {"shell": "/bin/bash"}, {"hash": "$y$x"}, {"hash": ""}],
    ids=["expiry", "shell", "hash", "empty"],
)
def test_each_way_back_in_of_a_leaver_is_closed_again(damage: dict[str, Any]) -> None:
    locked = {"expires": 1, "shell": "/usr/sbin/nologin", "hash": "!$y$x"}
    assert texts(state(anne=account(**locked)), wanted(person(state="locked"))) == []
    assert texts(state(anne=account(**{**locked, **damage})), wanted(person(state="locked"))) == ["account anne: locked (left)"]


def test_somebody_who_comes_back_is_unlocked_with_the_old_password() -> None:
    locked = account(expires=1, shell="/usr/sbin/nologin", hash="!$y$x")
    assert texts(state(anne=locked), wanted(person())) == ["account anne: unlocked"]
    assert ("run", "usermod", "-U", "--", "anne") in steps(state(anne=locked), wanted(person()))


def test_a_locum_who_comes_back_gets_the_new_end() -> None:
    locked = account(expires=1, shell="/usr/sbin/nologin", hash="!$y$x")
    assert texts(state(anne=locked), wanted(person(expires="2027-06-01"))) == [
        "account anne: unlocked",
        "account anne: expires 2027-06-01",
    ]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"home_mode": 0o755}, "home anne: mode 0755 to 0700"),
        ({"home_mode": None}, "home anne: created"),
        ({"home_uid": 1002}, "home anne: owner"),
        ({"name": "Quelqu'un"}, "account anne: name"),
    ],
)
def test_what_a_person_s_account_must_look_like(found: dict[str, Any], expected: str) -> None:
    assert texts(state(anne=account(**found)), wanted(person())) == [expected]


def test_the_office_fields_of_gecos_are_kept() -> None:
    found = account(name="Old,12,0102")
    assert ("run", "usermod", "-c", "Anne,12,0102", "--", "anne") in steps(state(anne=found), wanted(person()))


@pytest.mark.parametrize(
    ("name", "clean"), [("A:B", "A B"), ("A,B", "A B"), ("A\nB", "A B"), ("Hélène  d'Août", "Hélène d'Août")]
)
def test_a_name_that_passwd_cannot_hold_is_cleaned(name: str, clean: str) -> None:
    assert planner.clean_name(name) == clean


@pytest.mark.parametrize("login", ["root", "daemon"])
@pytest.mark.parametrize("wish", ["active", "locked"])
def test_a_person_with_a_system_account_s_name_is_refused(login: str, wish: str) -> None:
    found = state(daemon=Account(1, 1, shell="/usr/sbin/nologin", hash="*"))
    with pytest.raises(ValueError, match="system account"):
        plan(found, wanted(person(login, state=wish)))


def test_members_are_exact_and_rights_are_taken_back() -> None:
    found = state(anne=account(), eve=account(1002, "Eve"))
    found.groups = {"g": (2001, ["eve"]), "sudo": (27, ["anne", "antiseche", "ghost"]), "audio": (29, ["anne"])}
    want = wanted(person(groups=["g"]), person("eve"), groups=["g"], privileged_groups=["sudo", "docker"])
    assert texts(found, want) == ["group g: +anne", "group g: -eve", "group sudo: -anne", "group sudo: -ghost"]
    assert ("run", "gpasswd", "-M", "anne", "--", "g") in steps(found, want)
    assert ("run", "gpasswd", "-M", "antiseche", "--", "sudo") in steps(found, want)


def test_rights_by_primary_group_are_taken_back() -> None:
    found = state(anne=account())
    found.accounts["anne"].gid = 27
    found.groups = {"sudo": (27, [])}
    assert texts(found, wanted(person(), privileged_groups=["sudo"])) == ["group sudo: -anne (primary)"]


def test_someone_who_left_is_in_no_managed_group() -> None:
    found = state(anne=account(expires=1, shell="/usr/sbin/nologin", hash="!$y$x"))
    found.groups = {"g": (2001, ["anne"])}
    assert texts(found, wanted(person(state="locked", groups=["g"]), groups=["g"])) == ["group g: -anne"]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (account(1500), "account x: locked (unknown)"),
        (account(0), "account x: locked (second root)"),
        (Account(105, 105, shell="/bin/sh", hash="*"), "account x: service without login shell"),
        (Account(105, 105, shell="/usr/sbin/nologin", hash=""), "password x: empty, locked"),
        (Account(65534, 65534, shell="/usr/sbin/nologin", hash="*"), None),
        (Account(4, 65534, shell="/bin/sync", hash="*"), None),
    ],
)
def test_what_nobody_answers_for(found: Any, expected: str | None) -> None:
    assert texts(state(x=found), wanted()) == ([expected] if expected else [])


def test_root_s_password_is_locked_but_root_stays() -> None:
    found = state()
    found.accounts["root"].hash = "$y$x"
    assert steps(found, wanted()) == [("run", "usermod", "-L", "--", "root")]


def test_listed_accounts_are_left_untouched() -> None:
    found = state(shop=account(1500), odd=account(1501, hash=""))
    found.groups = {"sudo": (27, ["shop"])}
    assert texts(found, wanted(untouched=["shop", "odd"], privileged_groups=["sudo"])) == []


def test_foreign_sudo_files_are_set_aside() -> None:
    found = state()
    found.foreign_sudoers = ["pratique"]
    assert steps(found, wanted()) == [("aside", "pratique")]


def test_ages() -> None:
    want = {"ages": [{"login": "anne", "min": 0, "max": 90, "warn": 14}]}
    assert texts(state(anne=account()), want) == ["password anne: ages min=0 max=90 warn=14"]
    assert texts(state(anne=account(ages=(0, 90, 14))), want) == []


def test_ages_of_an_account_to_come_are_predicted_in_check_mode_only() -> None:
    want = {"ages": [{"login": "anne", "min": 0, "max": 90, "warn": 14}]}
    assert texts(state(), want) == []
    assert texts(state(), {**want, "predict_missing": True}) == ["password anne: ages min=0 max=90 warn=14"]


@pytest.mark.parametrize(("hashed", "weak"), [("$6$x", True), ("$1$x", True), ("$y$x", False), ("$gy$x", False), ("!", False)])
def test_old_hashes_are_renewed_once(hashed: str, weak: bool) -> None:
    want = {"ages": [{"login": "anne", "min": 0, "max": 99999, "warn": 7}], "renew_weak_hashes": True}
    assert bool(texts(state(anne=account(hash=hashed, last_change=20000)), want)) is weak
    assert texts(state(anne=account(hash=hashed, last_change=0)), want) == []


# ---- the account files of a simulated machine: applying a plan leads to a state where nothing is left to do


def simulate(found: Any, want: dict[str, Any]) -> None:
    for change in plan(found, want):
        for step in change.steps:
            simulate_step(found, list(step))


def simulate_step(found: Any, step: list[str]) -> None:
    kind, *argv = step
    if kind == "run" and argv[0] in ("groupadd", "gpasswd"):
        name = argv[-1]
        number = found.groups.get(name, (3000 + len(found.groups), []))[0]
        found.groups[name] = (number, [x for x in argv[2].split(",") if x] if argv[0] == "gpasswd" else [])
        return
    login = argv[-1]
    if argv[0] == "useradd":
        uid = 1 + max([1999, *(a.uid for a in found.accounts.values() if a.uid < 60000)])
        found.accounts[login] = Account(uid, uid, argv[argv.index("-c") + 1], home_mode=0o700, home_uid=uid)
        return
    entry = found.accounts.get(login)
    if kind == "password":
        found.accounts[argv[0]].hash = "$y$new"
    elif kind in ("home",):
        found.accounts[argv[0]].home_mode, found.accounts[argv[0]].home_uid = 0o700, found.accounts[argv[0]].uid
    elif kind == "aside":
        found.foreign_sudoers.remove(argv[0])
    elif kind == "own-group":
        found.accounts[argv[0]].gid = found.accounts[argv[0]].uid
    elif kind == "run" and argv[0] == "usermod":
        options = argv[1:-2]
        if "-s" in options:
            entry.shell = options[options.index("-s") + 1]
        if "-c" in options:
            entry.gecos = options[options.index("-c") + 1]
        if "-e" in options:
            entry.expires = 1
        if "-L" in options and not entry.hash.startswith("!"):
            entry.hash = "!" + entry.hash
        if "-U" in options:
            entry.hash = entry.hash.removeprefix("!")
    elif kind == "run" and argv[0] == "chage":
        values = dict(zip(argv[1:-2:2], argv[2:-2:2], strict=True))
        if "-E" in values:
            entry.expires = None if values["-E"] == "-1" else int(values["-E"])
        if "-d" in values:
            entry.last_change = 0
        if "-M" in values:
            entry.ages = (int(values["-m"]), int(values["-M"]), int(values["-W"]))


LOGINS = ["anne", "eve", "paul", "svc"]
GROUPS = ["cabinet-a", "cabinet-b", "sudo", "docker"]
accounts_found = st.builds(
    Account,
    uid=st.sampled_from([1001, 1002, 1003, 1004]),
    gid=st.sampled_from([1001, 27, 100]),
    gecos=st.sampled_from(["", "Anne", "Eve,1"]),
    shell=st.sampled_from(["/bin/bash", "/usr/sbin/nologin", "/bin/false"]),
    hash=st.sampled_from(["", "!", "*", "$y$x", "$6$x", "!$y$x"]),
    expires=st.sampled_from([None, 1, 20000, 30000]),
    last_change=st.sampled_from([None, 0, 20000]),
    home_mode=st.sampled_from([None, 0o700, 0o755]),
    home_uid=st.sampled_from([None, 0, 1001]),
)
states_found = st.builds(
    lambda found, members: State(
        {"root": copy.copy(ROOT), "antiseche": copy.copy(MAINTENANCE), **found},
        {name: (27 if name == "sudo" else 500 + i, list(logins)) for i, (name, logins) in enumerate(members.items())},
    ),
    st.dictionaries(st.sampled_from([*LOGINS, "other"]), accounts_found, max_size=4),
    st.dictionaries(st.sampled_from(GROUPS), st.lists(st.sampled_from([*LOGINS, "antiseche"]), unique=True), max_size=4),
)
people_wanted = st.lists(
    st.builds(
        person,
        st.sampled_from(LOGINS),
        groups=st.lists(st.sampled_from(GROUPS[:2]), unique=True),
        state=st.sampled_from(["active", "locked"]),
        expires=st.sampled_from(["", "2027-06-01"]),
    ),
    unique_by=lambda item: item["login"],
    max_size=3,
)


@settings(max_examples=300, deadline=None)
@given(found=states_found, people=people_wanted, first=st.booleans())
def test_any_state_converges_in_one_pass(found: Any, people: list[dict[str, Any]], first: bool) -> None:
    want = wanted(
        *people,
        groups=GROUPS[:2],
        privileged_groups=GROUPS[2:],
        initial_passwords=dict.fromkeys(LOGINS, "x") if first else {},
        ages=[{"login": p["login"], "min": 0, "max": 90, "warn": 14} for p in people if p["state"] == "active"],
        renew_weak_hashes=True,
    )
    before = copy.deepcopy(found)
    predicted = texts(found, {**want, "predict_missing": True})
    assert found == before, "planning must not change anything"
    assert len(predicted) == len(set(predicted)), "every change is told once"
    simulate(found, {**want, "predict_missing": True})
    assert texts(found, want) == []
    assert found.accounts["antiseche"] == MAINTENANCE
    assert set(before.accounts) <= set(found.accounts), "no account is ever deleted"
    logins = {p["login"] for p in people if p["state"] == "active"}
    for login, entry in found.accounts.items():
        if login not in {"root", "antiseche"} | logins:
            assert not entry.has_login_shell


# ---- reading a machine


def machine(root: Path, passwd: str, shadow: str = "", group: str = "") -> Path:
    (root / "etc").mkdir()
    for name, text in (("passwd", passwd), ("shadow", shadow), ("group", group)):
        (root / "etc" / name).write_text(text)
    return root


def test_reading_the_account_files(tmp_path: Path) -> None:
    home = tmp_path / "home/anne"
    home.mkdir(parents=True)
    home.chmod(0o750)
    machine(
        tmp_path,
        "root:x:0:0:root:/root:/bin/bash\nanne:x:1001:1001:Anne,,:/home/anne:\n+::::::\nbroken line\n",
        "root:*:20000:0:99999:7:::\nanne:$y$j9T$x:20001:1:90:14::21000:\n",
        "root:x:0:\ncabinet:x:2000:anne,eve\n",
    )
    found = module.read_state(tmp_path, {})
    anne = found.accounts["anne"]
    assert (anne.ages, anne.last_change, anne.expires, anne.shell, anne.home_mode) == (
        (1, 90, 14),
        20001,
        21000,
        "/bin/sh",
        0o750,
    )
    assert found.groups["cabinet"] == (2000, ["anne", "eve"])


@pytest.mark.parametrize("fields", ["anne:$y$x:20001::::::", "anne:$y$x:20001:0:-1:7:::"])
def test_absent_ages_mean_endless(tmp_path: Path, fields: str) -> None:
    machine(tmp_path, "anne:x:1001:1001::/home/anne:/bin/bash\n", fields + "\n")
    assert module.read_state(tmp_path, {}).accounts["anne"].ages[1] >= 99999


def test_a_home_that_is_a_link_counts_as_missing(tmp_path: Path) -> None:
    machine(tmp_path, "anne:x:1001:1001::/home/anne:/bin/bash\n")
    (tmp_path / "home").mkdir()
    (tmp_path / "home/anne").symlink_to("/etc")
    assert module.read_state(tmp_path, {}).accounts["anne"].home_mode is None


@pytest.mark.parametrize(
    ("specs", "foreign"),
    [
        ([{"User_List": [{"username": "anne"}]}], True),
        ([{"User_List": [{"usergroup": "staff"}]}], True),
        ([{"User_List": [{"username": "ALL"}]}], True),
        ([{"User_List": [{"username": "svc"}]}], False),
        ([], False),
        (None, True),
    ],
)
def test_which_sudo_files_are_foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, specs: Any, foreign: bool) -> None:
    for name in ("antiseche", "odd", "skipped.bak", "old~"):
        (tmp_path / name).write_text("x")
    answer = "no JSON" if specs is None else json.dumps({"User_Specs": specs})
    monkeypatch.setattr(module.subprocess, "run", lambda *_a, **_k: subprocess.CompletedProcess([], 0, answer, ""))
    found = state(anne=account(), svc=Account(105, 105))
    assert module.foreign_sudoers(tmp_path, ["antiseche"], found) == (["odd"] if foreign else [])


def test_a_busy_account_file_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [(1, "usermod: cannot lock /etc/passwd; try again later."), (0, "")]
    calls: list[list[str]] = []

    def fake(argv: list[str], **_more: Any) -> Any:
        calls.append(argv)
        code, text = answers[len(calls) - 1]
        return subprocess.CompletedProcess(argv, code, "", text)

    monkeypatch.setattr(module.subprocess, "run", fake)
    monkeypatch.setattr(module.time, "sleep", lambda _s: None)
    module.Applier({}).run(["usermod", "-L", "anne"])
    assert len(calls) == 2


def test_a_failing_tool_is_told_and_the_password_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.subprocess, "run", lambda argv, **_k: subprocess.CompletedProcess(argv, 3, "", "no way"))
    with pytest.raises(RuntimeError, match="chpasswd failed") as caught:
        module.Applier({"initial_passwords": {"anne": "S3cret"}}).do_password("anne")
    assert "S3cret" not in str(caught.value)
