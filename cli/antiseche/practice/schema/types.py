"""The kinds of values that answers are made of: what each accepts, and how a refusal is called.

Refusals are pydantic error codes; `antiseche.practice.messages` gives each its sentence.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import ipaddress
import re
import struct
import unicodedata
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic.networks import IPvAnyAddress, IPvAnyNetwork
from pydantic_core import PydanticCustomError

TEMPLATE_MARKS = ("{{", "{%", "{#")
YEARS = (2000, 2099)
# What the remote_access role lets in; a key of another type would be refused by every host.
KEY_TYPES = ("ssh-ed25519", "sk-ssh-ed25519@openssh.com", "ssh-rsa")
RSA_MIN_BITS = 3072
# CPS4 cards need 5.2 (ANS, release notes of the Cryptolib CPS); 5.2.1 mends what its first installers left behind.
MIDDLEWARE_FLOOR = (5, 2, 1)

_WORDS = {"oui": True, "yes": True, "true": True, "non": False, "no": False, "false": False}
_ED25519_BYTES = 32


def _refusal(kind: str, **context: Any) -> PydanticCustomError:
    # The text is never shown: messages has one for every code.
    return PydanticCustomError(kind, "{kind}", {"kind": kind, **context})


def _yes_no(value: object) -> object:
    """YAML 1.2 knows true and false only; a French file may also say oui and non."""
    return _WORDS.get(value.strip().lower(), value) if isinstance(value, str) else value


def _whole(value: object) -> object:
    """Take what is typed as digits, never a truth value or a fraction."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value.strip()):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**9:
        return value
    raise _refusal("whole_number")


def _one_line(text: str) -> str:
    """Take one line that a person can read; accents in one form, so that equal names are equal."""
    for number, character in enumerate(text, 1):
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp"):
            raise _refusal("invisible_character", number=number)
    text = unicodedata.normalize("NFC", text)
    if not any(character.isalnum() for character in text):
        raise _refusal("no_word")
    for mark in TEMPLATE_MARKS:
        if mark in text:
            raise _refusal("template_mark", mark=mark)
    return text


def _person_name(text: str) -> str:
    """Full names end up in /etc/passwd, where these separate fields."""
    if re.search(r"[:,=]", text):
        raise _refusal("name_separator")
    return text


def _iso_date(value: object) -> object:
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return value
    if not isinstance(value, str) or not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        raise _refusal("date_form")
    try:
        return dt.date.fromisoformat(value)
    except ValueError:
        raise _refusal("date_impossible") from None


def _this_century(value: dt.date) -> dt.date:
    if not YEARS[0] <= value.year <= YEARS[1]:
        raise _refusal("date_range", first=YEARS[0], last=YEARS[1])
    return value


def _address(value: object) -> object:
    """A bare number is a valid address for Python, and always a mistake here."""
    if not isinstance(value, str | ipaddress.IPv4Address | ipaddress.IPv6Address):
        raise _refusal("ip_any_address")
    return value


def _network(value: object) -> object:
    if not isinstance(value, str | ipaddress.IPv4Network | ipaddress.IPv6Network):
        raise _refusal("ip_any_network")
    try:
        return ipaddress.ip_network(value)
    except ValueError:
        pass
    try:
        inside = ipaddress.ip_interface(value)
    except ValueError:
        raise _refusal("ip_any_network") from None
    raise _refusal("network_host_bits", network=str(inside.network), address=str(inside.ip))


def _supported_middleware(text: str) -> str:
    """Refuse what lacks the vendor's own security fix."""
    if tuple(map(int, text.split("."))) < MIDDLEWARE_FLOOR:
        raise _refusal("middleware_old", least=".".join(map(str, MIDDLEWARE_FLOOR)))
    return text


def _public_key(text: str) -> str:
    """Check a line of ``authorized_keys`` as RFC 4253 section 6.6 and RFC 8709 encode it."""
    if "PRIVATE KEY" in text:
        raise _refusal("private_key")
    words = text.split(" ", 2)
    if len(words) < 2 or not text.isprintable() or not words[0].startswith(("ssh-", "sk-", "ecdsa-")):
        raise _refusal("public_key_form")
    if words[0] not in KEY_TYPES:
        raise _refusal("public_key_type", found=words[0])
    try:
        parts = _ssh_strings(base64.b64decode(words[1], validate=True))
    except (binascii.Error, ValueError, struct.error):
        raise _refusal("public_key_damaged") from None
    if parts[0] != words[0].encode() or len(parts) != (2 if words[0] == "ssh-ed25519" else 3):
        raise _refusal("public_key_damaged")
    if words[0] == "ssh-rsa":
        bits = int.from_bytes(parts[2], "big").bit_length()
        if bits < RSA_MIN_BITS:
            raise _refusal("public_key_weak", bits=bits, least=RSA_MIN_BITS)
    elif len(parts[1]) != _ED25519_BYTES:
        raise _refusal("public_key_damaged")
    return text


def _ssh_strings(raw: bytes) -> list[bytes]:
    parts = []
    while raw:
        (length,) = struct.unpack(">I", raw[:4])
        if length > len(raw) - 4:
            raise ValueError
        parts.append(raw[4 : 4 + length])
        raw = raw[4 + length :]
    if not parts:
        raise ValueError
    return parts


# An editor follows the schema to the letter: it must know the French words too.
YesNo = Annotated[
    bool,
    Field(strict=True),
    BeforeValidator(_yes_no),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, {"enum": ["oui", "non", "yes", "no"]}]}),
]
Whole = BeforeValidator(_whole)
Port = Annotated[int, Field(ge=1, le=65535), Whole]
Date = Annotated[dt.date, BeforeValidator(_iso_date), AfterValidator(_this_century)]
Address = Annotated[IPvAnyAddress, BeforeValidator(_address)]
Network = Annotated[IPvAnyNetwork, BeforeValidator(_network)]

Text = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_one_line)]
PersonName = Annotated[Text, AfterValidator(_person_name)]
Slug = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,39}$")]
Login = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,30}$")]
HostName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,13}[a-z0-9]$")]
DevicePath = Annotated[
    str, Field(max_length=200, pattern=r"^/dev/(disk/by-(id|path)/[A-Za-z0-9][A-Za-z0-9._:+@-]*|[sv]d[b-z]|nvme[0-9]+n[0-9]+)$")
]
MountPoint = Annotated[str, Field(max_length=100, pattern=r"^/(srv|mnt|media|data|var/lib)(/[a-z0-9][a-z0-9_-]*)+$")]
PackageName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9+.-]+(:[a-z0-9]+)?$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")]
MiddlewareVersion = Annotated[str, Field(pattern=r"^[0-9]{1,3}(\.[0-9]{1,4}){1,3}$"), AfterValidator(_supported_middleware)]
ClockTime = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
ControlId = Annotated[str, Field(pattern=r"^[A-Z]{2,5}-[0-9]{2}$")]
# Nothing that a shell, a URL or a unit file would read as anything but itself.
FolderPath = Annotated[str, Field(pattern=r"^(/[A-Za-z0-9_][A-Za-z0-9._-]*){2,}$")]
AnyPath = Annotated[str, Field(pattern=r"^/[^/].*$", max_length=200), AfterValidator(_one_line)]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,59}$")]
# A place that a restic repository lives at: never with a password; an SFTP one names its account.
OffsitePlace = Annotated[
    str,
    Field(
        pattern=r"^(https://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._/-]*)?"
        r"|sftp://[A-Za-z0-9_][A-Za-z0-9._-]*@[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{1,5})?(/[A-Za-z0-9._/-]*)?)$",
        max_length=200,
    ),
]
WaiverId = Annotated[str, Field(pattern=r"^D-[0-9]{3}$")]
PublicKey = Annotated[str, Field(max_length=2000), AfterValidator(_public_key)]
