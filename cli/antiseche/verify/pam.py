"""What a PAM configuration decides, worked out as libpam does (pam.conf(5)) from the files that it reads.

Checks give each module the result that interests them (a wrong password, a locked account) and ask whether the stack
still refuses, and which modules were asked: the order of lines alone proves nothing, a jump may lead around any of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

KINDS = ("auth", "account", "password", "session")
_WORDS: dict[str, dict[str, str]] = {
    "required": {"success": "ok", "new_authtok_reqd": "ok", "ignore": "ignore", "default": "bad"},
    "requisite": {"success": "ok", "new_authtok_reqd": "ok", "ignore": "ignore", "default": "die"},
    "sufficient": {"success": "done", "new_authtok_reqd": "done", "default": "ignore"},
    "optional": {"success": "ok", "new_authtok_reqd": "ok", "default": "ignore"},
}
_LINE = re.compile(r"-?(\w+)\s+(\[[^]]*\]|\w+)\s+(\S+)\s*(.*)$")
_DEEPEST = 16
# Modules that look at a password, a finger, a card or the caller's rights; without proof they refuse.
_JUDGES = frozenset({
    "pam_unix.so", "pam_deny.so", "pam_rootok.so", "pam_sss.so", "pam_krb5.so", "pam_ldap.so", "pam_winbind.so", "pam_fprintd.so",
    "pam_pkcs11.so", "pam_p11.so", "pam_u2f.so", "pam_systemd_home.so",
})  # fmt: skip


@dataclass(frozen=True)
class Line:
    """One line of a stack: what its module's results lead to, the module's file name, and its arguments."""

    kind: str
    actions: tuple[tuple[str, str], ...]
    module: str
    arguments: tuple[str, ...]

    def action(self, result: str) -> str:
        """Return what a result leads to; what is not said is a failure."""
        actions = dict(self.actions)
        return actions.get(result, actions.get("default", "bad"))

    def option(self, name: str) -> str | None:
        """Return the value of the last argument of that name; None if there is none, empty for a bare word."""
        found = None
        for argument in self.arguments:
            key, _equals, value = argument.partition("=")
            found = value if key == name else found
        return found


@dataclass(frozen=True)
class Verdict:
    """What a stack decided, and the lines that were asked on the way."""

    accepted: bool
    asked: tuple[Line, ...]

    def reached(self, module: str, *words: str) -> bool:
        """Say whether a module was asked, with these arguments."""
        return any(line.module == module and set(words) <= set(line.arguments) for line in self.asked)


def files(listing: str) -> dict[str, str]:
    """Return the files in what ``tail -n +1 /etc/pam.d/*`` prints, by name."""
    parts = re.split(r"^==> (.+) <==\n", listing, flags=re.MULTILINE)[1:]
    return {path.rsplit("/", 1)[-1]: text for path, text in zip(parts[::2], parts[1::2], strict=True)}


def stack(texts: Mapping[str, str], service: str, kind: str) -> list[Line]:
    """Return the lines of one kind that libpam reads for a service, included files in place.

    Raises:
        ValueError: a file includes itself, or a line is not one.
    """
    return list(_lines(texts, service, kind, 0))


def _lines(texts: Mapping[str, str], name: str, kind: str, depth: int) -> Iterable[Line]:
    if depth > _DEEPEST:
        raise ValueError(f"/etc/pam.d/{name} : inclusions sans fin")
    for text in re.sub(r"\\\n", " ", texts.get(name, "")).splitlines():
        plain = text.partition("#")[0].strip()
        if not plain:
            continue
        if plain.startswith("@include"):
            yield from _lines(texts, plain.split(None, 1)[1].rsplit("/", 1)[-1], kind, depth + 1)
            continue
        match = _LINE.match(plain)
        if match is None:
            raise ValueError(f"/etc/pam.d/{name} : ligne incomprise : {plain[:80]}")
        found, control, module, rest = match.groups()
        if found.lower() != kind:
            continue
        if control in ("include", "substack"):
            yield from _lines(texts, module.rsplit("/", 1)[-1], kind, depth + 1)
            continue
        pairs = (
            dict(_pair(word) for word in control[1:-1].split()) if control.startswith("[") else _WORDS.get(control.lower(), {})
        )
        yield Line(kind, tuple(pairs.items()), module.rsplit("/", 1)[-1], tuple(_arguments(rest)))


def _pair(word: str) -> tuple[str, str]:
    name, _equals, value = word.partition("=")
    return name, value


def _arguments(text: str) -> list[str]:
    return [word[1:-1] if word.startswith("[") else word for word in re.findall(r"\[[^]]*\]|\S+", text)]


def walk(lines: Iterable[Line], result: Callable[[Line], str]) -> Verdict:
    """Walk a stack as libpam does; ``result`` gives what each module returns, in the words of pam.conf(5)."""
    waiting, asked = list(lines), []
    impression, succeeded, skip = "undefined", False, 0
    for line in waiting:
        if skip:
            skip -= 1
            continue
        asked.append(line)
        returned = result(line)
        action = line.action(returned)
        if action.isdecimal():
            skip = int(action)
        elif action in ("ok", "done"):
            if impression == "undefined" or (impression == "positive" and succeeded):
                impression, succeeded = "positive", returned in ("success", "new_authtok_reqd")
            if action == "done" and impression == "positive":
                break
        elif action in ("bad", "die"):
            impression, succeeded = "negative", False
            if action == "die":
                break
        elif action == "reset":
            impression, succeeded = "undefined", False
    # A jump past the end, like a stack that decided nothing, is a refusal.
    return Verdict(impression == "positive" and succeeded and not skip, tuple(asked))


def wrong_password(conditions: bool) -> Callable[[Line], str]:
    """Return what modules answer to somebody who has no password and no other proof.

    Args:
        conditions: whether what pam_succeed_if asks about that person (a group, a number) is so.
    """

    def result(line: Line) -> str:
        if line.module in _JUDGES or (line.module == "pam_succeed_if.so" and not conditions):
            return "auth_err"
        return "ignore" if line.module == "pam_faillock.so" and "preauth" not in line.arguments else "success"

    return result
