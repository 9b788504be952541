"""Whatever the account files of a machine hold: one pass leads to a state where nothing is left to do, or is refused."""

from __future__ import annotations

import copy
from typing import Any

from accounts_samples import MAINTENANCE, ROOT, Account, State, person, plan, texts, wanted
from ansible.module_utils import antiseche_accounts_plan as planner
from hypothesis import event, given, settings
from hypothesis import strategies as st

LOGINS = ["anne", "eve", "paul", "zoe"]
MANAGED = ["cabinet-a", "cabinet-b"]
PRIVILEGED = {"sudo": 27, "docker": 990, "root": 0}
FIRST = "first-password"


def simulate(found: Any, want: dict[str, Any]) -> list[tuple[str, ...]]:
    """Do to a state what the tools would do to the machine; return every step."""
    steps = [step for change in plan(found, want) for step in change.steps]
    for step in steps:
        kind, *words = step
        if kind == "run":
            TOOLS[words[0]](found, words)
        else:
            OWN[kind](found, words[0])
    return steps


def options(words: list[str]) -> dict[str, str]:
    return {word: words[index + 1] for index, word in enumerate(words[:-1]) if word.startswith("-") and word != "--"}


def useradd(found: Any, words: list[str]) -> None:
    login, given = words[-1], options(words)
    assert login not in found.accounts
    uid = 1 + max([1999, *(a.uid for a in found.accounts.values() if a.uid < 60000)])
    if "-U" in words:
        assert login not in found.groups, "useradd: group exists"
        found.groups[login] = (uid, [])
    gid = found.groups[login][0]
    left = found.accounts_left.get(login, (0o700, uid))  # the home of an account that somebody removed
    found.accounts[login] = Account(uid, gid, given["-c"], f"/home/{login}", home_mode=left[0], home_uid=left[1])


def usermod(found: Any, words: list[str]) -> None:
    login, given = words[-1], options(words)
    account = found.accounts[login]
    account.shell = given.get("-s", account.shell)
    account.gecos = given.get("-c", account.gecos)
    if "-e" in given:
        assert given["-e"] == "1970-01-02"
        account.expires = 1
    if "-L" in words and not account.hash.startswith("!"):
        account.hash = "!" + account.hash
    if "-U" in words:
        assert account.hash != "!", "usermod refuses to leave an account without a password"
        account.hash = account.hash.removeprefix("!")
    if "-g" in given:
        account.gid = found.groups[given["-g"]][0]


def chage(found: Any, words: list[str]) -> None:
    account, given = found.accounts[words[-1]], options(words)
    if "-E" in given:
        account.expires = None if given["-E"] == "-1" else int(given["-E"])
    if "-d" in given:
        account.last_change = int(given["-d"])
    if "-M" in given:
        account.ages = (int(given["-m"]), int(given["-M"]), int(given["-W"]))


def gpasswd(found: Any, words: list[str]) -> None:
    group, given = words[-1], options(words)
    gid, members = found.groups[group]
    hidden = found.hidden_members.get(group, [])
    if "-a" in given:
        assert given["-a"] in found.accounts, "gpasswd: user does not exist"
        found.groups[group] = (gid, [*members, given["-a"]])
        found.hidden_members[group] = [name for name in hidden if name != given["-a"]]
    elif "-d" in given:
        assert given["-d"] in members + hidden, "gpasswd: not a member"
        found.groups[group] = (gid, [name for name in members if name != given["-d"]])
        found.hidden_members[group] = [name for name in hidden if name != given["-d"]]
    elif "-A" in given:
        found.group_admins[group] = []
    else:
        assert "-R" in words
        found.group_passwords.discard(group)


def groupadd(found: Any, words: list[str]) -> None:
    assert words[-1] not in found.groups
    taken = {gid for gid, _members in found.groups.values()}
    found.groups[words[-1]] = (next(gid for gid in range(3000, 4000) if gid not in taken), [])


def password(found: Any, login: str) -> None:
    found.accounts[login].hash, found.accounts[login].last_change = "$y$first", 0
    found.half_set.discard(login)


def home(found: Any, login: str) -> None:
    account = found.accounts[login]
    account.home_mode, account.home_uid, account.home_listed = 0o700, account.uid, False


def own_group(found: Any, login: str) -> None:
    if login not in found.groups:
        groupadd(found, [login])
    found.accounts[login].gid = found.groups[login][0]


TOOLS: dict[str, Any] = {
    "useradd": useradd,
    "usermod": usermod,
    "chage": chage,
    "gpasswd": gpasswd,
    "groupadd": groupadd,
    "pwconv": lambda found, _words: setattr(found, "unshadowed", False),
    "mkhomedir_helper": lambda found, words: setattr(found.accounts[words[1]], "home_mode", 0o755),
}
OWN: dict[str, Any] = {
    "password": password,
    "renew-first": lambda found, login: (setattr(found.accounts[login], "last_change", 0), found.half_set.discard(login)),
    "home": home,
    "own-group": own_group,
    "sessions": lambda found, login: setattr(found.accounts[login], "in_session", False),
    "aside": lambda found, name: found.foreign_sudoers.remove(name),
    "protect": lambda found, name: found.open_files.remove(name),
}

accounts_found = st.builds(
    Account,
    uid=st.sampled_from([0, 105, 65534, *range(1001, 1009)]),
    gid=st.sampled_from([1001, 1002, 1003, 27, 100, 0]),
    gecos=st.sampled_from(["", "Anne", "Eve,1"]),
    shell=st.sampled_from(["/bin/bash", "/usr/sbin/nologin", "/bin/false", "/bin/sh"]),
    hash=st.sampled_from(["", "!", "!!", "*", "!*", "!x", "x", "$y$x", "$6$x", "!$y$x", "!!$6$x"]),
    ages=st.sampled_from([(0, 99999, 7), (0, 90, 14), (1, 60, 0)]),
    expires=st.sampled_from([None, 0, 1, 2, 20000, 30000]),
    last_change=st.sampled_from([None, 0, 20000]),
    home_mode=st.sampled_from([None, 0o700, 0o755]),
    home_uid=st.sampled_from([None, 0, 1001]),
    home_listed=st.booleans(),
    in_session=st.booleans(),
)
members_found = st.lists(st.sampled_from([*LOGINS, "antiseche", "ghost", "shop"]), unique=True, max_size=3)


@st.composite
def states_found(draw: st.DrawFn) -> Any:
    accounts = draw(st.dictionaries(st.sampled_from([*LOGINS, "other", "shop"]), accounts_found, max_size=5))
    for login, account in accounts.items():
        account.home = f"/home/{login}"
    names = draw(st.lists(st.sampled_from([*MANAGED, *PRIVILEGED, "helpers", *LOGINS]), unique=True))
    numbers = {**PRIVILEGED, "helpers": draw(st.sampled_from([27, 0, 2001])), **{x: 1001 + i for i, x in enumerate(LOGINS)}}
    groups = {name: (numbers.get(name, 5000 + index), draw(members_found)) for index, name in enumerate(names)}
    found = State({"root": copy.copy(ROOT), "antiseche": copy.copy(MAINTENANCE), **accounts}, groups)
    found.accounts["root"].hash = draw(st.sampled_from(["*", "!", "$y$x", ""]))
    found.accounts["antiseche"].hash = draw(st.sampled_from(["*", "$6$x", "$y$x"]))
    found.hidden_members = {x: [m for m in draw(members_found) if m not in groups[x][1]] for x in names if draw(st.booleans())}
    found.group_admins = {name: draw(members_found) for name in names if draw(st.booleans())}
    found.group_passwords = {name for name in names if draw(st.booleans())}
    found.unshadowed = draw(st.booleans())
    found.half_set = set(draw(st.lists(st.sampled_from(LOGINS), max_size=2)))
    found.foreign_sudoers = draw(st.lists(st.sampled_from(["a", "b"]), unique=True))
    found.open_files = draw(st.lists(st.sampled_from(["/etc/shadow", "/etc/gshadow"]), unique=True))
    found.accounts_left = {x: (0o755, 1500) for x in LOGINS if draw(st.booleans())}
    return found


people_wanted = st.lists(
    st.builds(
        person,
        st.sampled_from(LOGINS),
        groups=st.lists(st.sampled_from(MANAGED), unique=True),
        state=st.sampled_from(["active", "locked"]),
        expires=st.sampled_from(["", "2027-06-01"]),
    ),
    unique_by=lambda item: item["login"],
    max_size=4,
)
REFUSALS = ("root's number", "system account", "same number", "has the number", "system group")


@settings(max_examples=400, deadline=None)
@given(found=states_found(), people=people_wanted, first=st.booleans())
def test_any_state_converges_in_one_pass(found: Any, people: list[dict[str, Any]], first: bool) -> None:
    active = [p["login"] for p in people if p["state"] == "active"]
    endless = {"login": "antiseche", "min": 0, "max": 99999, "warn": 7}
    want = wanted(
        *people,
        groups=MANAGED,
        privileged_groups=list(PRIVILEGED),
        untouched=["shop"],
        initial_passwords=dict.fromkeys(LOGINS, FIRST) if first else {},
        ages=[*({"login": login, "min": 0, "max": 90, "warn": 14} for login in active), endless],
        renew_weak_hashes=True,
        predict_missing=True,
    )
    before = copy.deepcopy(found)
    try:
        predicted = texts(found, want)
    except ValueError as error:
        event("refused")
        if not any(reason in str(error) for reason in REFUSALS):
            raise
        return
    event("planned")
    assert found == before, "planning must not change anything"
    assert len(predicted) == len(set(predicted)), "every change is told once"
    steps = simulate(found, want)
    assert texts(found, want) == []
    nothing_was_lost(before, found, steps)
    nobody_is_let_in(found, active)


def nothing_was_lost(before: Any, found: Any, steps: list[tuple[str, ...]]) -> None:
    assert set(before.accounts) <= set(found.accounts), "no account is ever deleted"
    assert set(before.groups) <= set(found.groups), "nor a group"
    words = {word for step in steps for word in step}
    assert not words & {"userdel", "groupdel", "rm", "-r", "deluser"}
    assert FIRST not in words, "a secret travels on stdin only"
    for login in ("antiseche", "shop"):
        assert found.accounts.get(login) == before.accounts.get(login), "never touched"
        assert ("sessions", login) not in steps
    root = found.accounts["root"]
    assert (root.shell, root.expires, root.uid) == ("/bin/bash", None, 0), "root is never shut out of its own machine"
    ended = {step[1] for step in steps if step[0] == "sessions"}
    ended_numbers = {before.accounts[login].uid for login in ended}
    others = {account.uid for login, account in before.accounts.items() if login not in ended}
    assert not ended_numbers & others, "nobody else's sessions are ended"


def nobody_is_let_in(found: Any, active: list[str]) -> None:
    skip = {"antiseche", "shop"}
    for login, account in found.accounts.items():
        if login in active:
            assert account.has_login_shell
            assert account.expires != planner.LOCK_DAY
            assert (account.home_mode, account.home_uid, account.home_listed) == (0o700, account.uid, False)
            assert account.hash != ""
        elif login not in skip | {"root"}:
            assert not account.has_login_shell
            assert account.hash != ""
    assert not found.accounts["root"].has_usable_password
    numbers = {found.groups[name][0] for name in PRIVILEGED if name in found.groups}
    for name, (gid, members) in found.groups.items():
        if gid in numbers:
            assert set(members + found.hidden_members.get(name, [])) <= skip
            assert name not in found.group_passwords
            assert not found.group_admins.get(name)
    assert not [login for login in active if login not in skip and found.accounts[login].gid in numbers]
