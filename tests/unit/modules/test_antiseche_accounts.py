"""The planner of accounts: what it changes, what it never changes, and that a second pass finds nothing."""

from __future__ import annotations

from typing import Any

import pytest
from accounts_samples import Account, account, person, plan, state, texts, wanted
from ansible.module_utils import antiseche_accounts_plan as planner


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
    found.groups |= {"g": (2001, ["eve"]), "sudo": (27, ["anne", "antiseche", "ghost"]), "audio": (29, ["anne"])}
    want = wanted(person(groups=["g"]), person("eve"), groups=["g"], privileged_groups=["sudo", "docker"])
    assert texts(found, want) == ["group g: +anne", "group g: -eve", "group sudo: -anne", "group sudo: -ghost"]
    assert ("run", "gpasswd", "-a", "anne", "--", "g") in steps(found, want)
    assert ("run", "gpasswd", "-d", "ghost", "--", "sudo") in steps(found, want)
    assert not any("antiseche" in step for step in steps(found, want))


def test_rights_by_primary_group_are_taken_back() -> None:
    found = state(anne=account())
    found.accounts["anne"].gid = 27
    found.groups |= {"sudo": (27, [])}
    assert texts(found, wanted(person(), privileged_groups=["sudo"])) == ["group sudo: -anne (primary)"]


def test_someone_who_left_is_in_no_managed_group() -> None:
    found = state(anne=account(expires=1, shell="/usr/sbin/nologin", hash="!$y$x"))
    found.groups |= {"g": (2001, ["anne"])}
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
    found.groups |= {"sudo": (27, ["shop"])}
    assert texts(found, wanted(untouched=["shop", "odd"], privileged_groups=["sudo"])) == []


def test_foreign_sudo_files_are_set_aside() -> None:
    found = state()
    found.foreign_sudoers = ["pratique"]
    assert steps(found, wanted()) == [("aside", "pratique")]


def test_ages() -> None:
    want = {"ages": [{"login": "anne", "min": 0, "max": 90, "warn": 14}]}
    assert texts(state(anne=account()), want) == ["password anne: ages min=0 max=90 warn=14"]
    assert texts(state(anne=account(ages=(0, 90, 14))), want) == []


def test_an_account_does_not_end_with_its_password() -> None:
    want = {"ages": [{"login": "anne", "min": 0, "max": 99999, "warn": 7}]}
    assert texts(state(anne=account(inactive=0)), want) == ["password anne: no end after the password's"]


def test_nothing_may_close_an_account_that_a_key_opens() -> None:
    endless = [{"login": "antiseche", "min": 0, "max": 99999, "warn": 7, "endless": True}]
    found = state()
    assert texts(found, {"ages": endless}) == []
    maintenance = found.accounts["antiseche"]
    maintenance.expires, maintenance.last_change = 47482, 0
    assert texts(found, {"ages": endless}) == ["account antiseche: no expiry", "password antiseche: no change asked"]


@pytest.mark.parametrize(
    ("found", "left"),
    [("Anne,umask=022", "Anne"), ("Anne,Room 4,,umask=022,pri=-5", "Anne,Room 4,"), ("Anne,Room 4,01 23", "Anne,Room 4,01 23")],
)
def test_orders_to_pam_leave_the_comment_field_and_nothing_else_does(found: str, left: str) -> None:
    assert planner.clean_gecos(found, "Anne") == left


def test_ages_of_an_account_to_come_are_predicted_in_check_mode_only() -> None:
    want = {"ages": [{"login": "anne", "min": 0, "max": 90, "warn": 14}]}
    assert texts(state(), want) == []
    assert texts(state(), {**want, "predict_missing": True}) == ["password anne: ages min=0 max=90 warn=14"]


@pytest.mark.parametrize(("hashed", "weak"), [("$6$x", True), ("$1$x", True), ("$y$x", False), ("$gy$x", False), ("!", False)])
def test_old_hashes_are_renewed_once(hashed: str, weak: bool) -> None:
    want = {"ages": [{"login": "anne", "min": 0, "max": 99999, "warn": 7}], "renew_weak_hashes": True}
    assert bool(texts(state(anne=account(hash=hashed, last_change=20000)), want)) is weak
    assert texts(state(anne=account(hash=hashed, last_change=0)), want) == []


# ---- odd machines


@pytest.mark.parametrize(
    "home", ["/", "", "/home", "/etc", "/root", "/usr/share/x", "/var/lib/x", "home/anne", "/home/../etc", "/home//anne"]
)
def test_a_home_that_is_the_system_s_is_never_touched(home: str) -> None:
    assert "belongs to the system" in planner.shared_home("anne", state(anne=account(home=home)))


@pytest.mark.parametrize("home", ["/home/anne", "/srv/homes/anne", "/data/anne"])
def test_homes_may_be_elsewhere(home: str) -> None:
    assert planner.shared_home("anne", state(anne=account(home=home))) == ""


@pytest.mark.parametrize("other", ["/home/anne", "/home/anne/inside"])
def test_a_home_that_is_somebody_else_s_too_is_never_touched(other: str) -> None:
    found = state(anne=account(), svc=Account(105, 105, home=other, shell="/usr/sbin/nologin"))
    assert "is svc's too" in planner.shared_home("anne", found)


def test_a_home_problem_stops_the_run_and_says_what_to_do() -> None:
    found = state(anne=account(home_problem="the home '/' belongs to the system"))
    with pytest.raises(
        ValueError, match=r"anne: the home '/' belongs to the system; give the account another home \(usermod -d\)"
    ):
        plan(found, wanted(person()))
    assert texts(found, wanted(person(state="locked"))) == ["account anne: locked (left)"], "locking needs no home"


def test_a_person_with_root_s_number_is_refused() -> None:
    with pytest.raises(ValueError, match="root's number 0"):
        plan(state(anne=account(0)), wanted(person()))


@pytest.mark.parametrize("other", ["paul", "antiseche", "shop"])
def test_two_who_stay_cannot_share_a_number(other: str) -> None:
    found = state(anne=account(), **{other: account(1001, other.title())})
    with pytest.raises(ValueError, match="same number 1001"):
        plan(found, wanted(person(), person("paul"), untouched=["shop"]))


def test_the_double_of_somebody_who_stays_is_locked_and_the_sessions_stay_open() -> None:
    found = state(anne=account(), double=account(1001, "Double", in_session=True))
    made = plan(found, wanted(person()))
    assert [change.text for change in made] == ["account double: locked (unknown)"]
    assert not [step for change in made for step in change.steps if step[0] == "sessions"]


def test_a_second_root_is_locked_and_our_own_session_stays_open() -> None:
    made = plan(state(toor=account(0, "Toor")), wanted())
    assert [change.text for change in made] == ["account toor: locked (second root)"]
    assert not [step for change in made for step in change.steps if step[0] == "sessions"]


@pytest.mark.parametrize("answered", [True, False])
def test_a_session_that_outlived_the_lock_is_ended(answered: bool) -> None:
    locked = account(expires=1, shell="/usr/sbin/nologin", hash="!$y$x", in_session=True)
    want = wanted(person(state="locked")) if answered else wanted()
    made = plan(state(anne=locked), want)
    assert [(change.text, change.steps) for change in made] == [("account anne: sessions ended", (("sessions", "anne"),))]


def test_hashes_that_everybody_can_read_are_moved_first() -> None:
    found = state(toor=account(0, "Toor", hash=""))
    found.unshadowed = True
    assert texts(found, wanted()) == ["passwords: moved to /etc/shadow", "account toor: locked (second root)"]


def test_a_first_password_whose_change_was_not_yet_ordered() -> None:
    found = state(anne=account())
    found.half_set = {"anne", "somebody"}
    assert texts(found, wanted(person())) == ["password anne: to be changed at first logon"]
    assert steps(found, wanted(person())) == [("renew-first", "anne")]


@pytest.mark.parametrize("hashed", ["!*", "!x", "!!", "x"])
def test_somebody_who_never_had_a_password_gets_a_first_one_in_the_same_pass_as_the_unlocking(hashed: str) -> None:
    found = state(anne=account(expires=1, shell="/usr/sbin/nologin", hash=hashed))
    want = wanted(person(), initial_passwords={"anne": "S3cret"})
    assert texts(found, want)[-1] == "password anne: first password, to be changed at first logon"


def test_an_account_without_its_group_gets_one() -> None:
    found = state(anne=account())
    del found.groups["anne"]
    assert texts(found, wanted(person())) == ["account anne: group of its own"]


def test_a_leftover_group_of_the_same_name_is_taken() -> None:
    found = state()
    found.groups["anne"] = (1001, [])
    assert tuple(steps(found, wanted(person()))[0][3:5]) == ("-g", "anne")


@pytest.mark.parametrize(("group", "number"), [("docker", 990), ("cabinet", 2001)])
def test_a_login_that_is_a_group_of_rights_is_refused(group: str, number: int) -> None:
    found = state()
    found.groups[group] = (number, [])
    with pytest.raises(ValueError, match=f"{group} is a system group"):
        plan(found, wanted(person(group), groups=["cabinet"]))


def test_a_second_name_of_a_group_that_gives_rights_gives_the_same_rights() -> None:
    found = state(eve=account(1002, "Eve"))
    found.groups |= {"sudo": (27, []), "helpers": (27, ["eve", "antiseche"]), "zero": (0, ["eve"])}
    assert texts(found, wanted(person("eve"), privileged_groups=["sudo", "root"])) == ["group helpers: -eve", "group zero: -eve"]


def test_a_group_of_the_practice_with_root_s_number_is_refused() -> None:
    found = state(anne=account())
    found.groups |= {"sudo": (27, []), "cabinet": (27, [])}
    with pytest.raises(ValueError, match="group cabinet has the number 27 of sudo"):
        plan(found, wanted(person(), groups=["cabinet"], privileged_groups=["sudo"]))


def test_the_side_doors_of_groups_are_closed() -> None:
    found = state(eve=account(1002, "Eve"))
    found.groups |= {"sudo": (27, []), "g": (2001, [])}
    found.hidden_members, found.group_admins, found.group_passwords = {"sudo": ["eve"]}, {"g": ["eve"], "eve": ["eve"]}, {"sudo"}
    assert texts(found, wanted(person("eve"), groups=["g"], privileged_groups=["sudo"])) == [
        "group g: nobody may add members",
        "group sudo: -eve",
        "group sudo: no password",
    ]


def test_a_home_that_an_access_list_opens_is_closed() -> None:
    assert texts(state(anne=account(home_listed=True)), wanted(person())) == ["home anne: access list"]


@pytest.mark.parametrize("login", ["antiseche", "shop", "svc"])
def test_an_old_hash_of_whom_we_come_by_is_never_made_to_expire(login: str) -> None:
    """A password that must be changed closes an account to its key, too."""
    old = {"hash": "$6$x", "last_change": 20000}
    found = state(shop=account(1500, **old), svc=Account(998, 998, **old))
    found.accounts["antiseche"].hash, found.accounts["antiseche"].last_change = "$6$x", 20000
    ages = [{"login": login, "min": 0, "max": 99999, "warn": 7}]
    assert texts(found, {"ages": ages, "renew_weak_hashes": True, "maintenance_user": "antiseche", "untouched": ["shop"]}) == []


@pytest.mark.parametrize(
    "bad",
    [
        wanted(person("-rf")),
        wanted(person("a:b")),
        wanted(person("a\nroot")),
        wanted(person("")),
        wanted(person("a/b")),
        wanted(person("é")),
        wanted(person("x" * 40)),
        wanted(person("a,b")),
        wanted(person(groups=["a b"])),
        wanted(groups=["-x"]),
        wanted(ages=[{"login": "a b", "min": 0, "max": 1, "warn": 1}]),
        wanted(initial_passwords={"anne\nroot": "x"}),
    ],
    ids=lambda want: repr(want)[:60],
)
def test_names_that_a_line_cannot_hold_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="cannot be a login or a group"):
        plan(state(), bad)


@pytest.mark.parametrize("password", ["", "S3cret\nroot:x", "S3cret\0", "S3cret\x1b[A", None, 12345])
def test_passwords_that_would_be_another_line_are_refused_and_not_shown(password: Any) -> None:
    with pytest.raises(ValueError, match="first password of anne is empty or cannot be typed") as caught:
        plan(state(), wanted(person(), initial_passwords={"anne": password}))
    assert "S3cret" not in str(caught.value)


def test_a_person_asked_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="anne is asked twice"):
        plan(state(), wanted(person(), person(state="locked")))


@pytest.mark.parametrize("date", ["1970-01-02", "1969-12-31", "demain", "2027-02-30", "27/06/2027", "20270601x"])
def test_dates_that_would_read_as_a_lock_or_as_nothing_are_refused(date: str) -> None:
    with pytest.raises(ValueError, match="not a date that an account can expire on"):
        plan(state(anne=account()), wanted(person(expires=date)))
