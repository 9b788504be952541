"""The one redaction of texts that may hold a secret. Standard library only: Ansible's callback imports it."""

from __future__ import annotations

import re

MASK = "***"
DEFAULT_LIMIT = 500
# More than is ever kept, and few enough for the patterns to stay quick on a hostile text.
_MAX_SCANNED = 40000

_WORD = (
    r"(?:pass(?:word|wd|phrase|code)?|pwd|mot[ _-]de[ _-]passe|mdp|secret(?!ar|air)|token|jeton|credentials?"
    r"|api[_-]?key|private[_-]?key|vault(?:_password)?)"
)
_VALUE = r"(?:\"(?:[^\"\\]|\\.){0,2000}\"|'(?:[^'\\]|\\.){0,2000}'|[^\s,;}\]]{1,2000})"

# Every repetition is bounded or cannot fail once it has begun: a hostile text costs linear time.
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"-----BEGIN [A-Z0-9 ]{1,60}-----.*?(?:-----END [A-Z0-9 ]{1,60}-----|\Z)", re.DOTALL), MASK),
    (re.compile(r"\$ANSIBLE_VAULT;[^\n]*[\s0-9a-f]*", re.IGNORECASE), f"{MASK} "),
    (re.compile(r"(authorization[\"']?\s{0,5}[:=]\s{0,5})[^\r\n]+", re.IGNORECASE), rf"\1{MASK}"),
    (re.compile(r"\b(bearer|basic)\s{1,5}[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE), rf"\1 {MASK}"),
    (re.compile(r"\b(\w{1,20}://[^\s:/@]{0,100}:)[^\s@/]{1,200}@"), rf"\1{MASK}@"),
    (re.compile(r"\$(?:y|gy|7|6|5|1|2[abxy]?)\$[^\s:'\",]+"), MASK),
    # name = value, name: value, --name value, in any of the usual notations
    (re.compile(rf"({_WORD}[\w-]{{0,40}}[\"']?\s{{0,5}}(?:=>|[:=])\s{{0,5}}){_VALUE}", re.IGNORECASE), rf"\1{MASK}"),
    (re.compile(rf"((?<!-)--[\w-]{{0,40}}?{_WORD}[\w-]{{0,40}}\s{{1,5}}){_VALUE}", re.IGNORECASE), rf"\1{MASK}"),
    # first-logon passwords of the kit: four groups of four
    (re.compile(r"(?<![\w-])[A-Za-z0-9]{4}(?:-[A-Za-z0-9]{4}){3}(?![\w-])"), MASK),
)
_BLOB = re.compile(r"[A-Za-z0-9+/_-]{40,}={0,2}")


def _mask_blob(found: re.Match[str]) -> str:
    """Mask what looks random; a long path or a digest in plain hexadecimal says nothing secret."""
    text = found.group()
    mixed = any(c.isupper() for c in text) and any(c.islower() for c in text) and any(c.isdigit() for c in text)
    return MASK if mixed or text.endswith("=") else text


# Escape sequences and changes of direction: a machine's answer must not write to the reader's terminal what it likes.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def plain(text: str) -> str:
    """Return the text without characters that command a terminal; line ends and tabs stay."""
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))


def redact(text: object, *, limit: int = DEFAULT_LIMIT) -> str:
    """Return the text without secrets and control characters, cut at ``limit`` characters."""
    cleaned = plain(str(text)[: min(_MAX_SCANNED, 4 * limit + 4000)])
    for pattern, replacement in _PATTERNS:
        cleaned = pattern.sub(replacement, cleaned)
    cleaned = _BLOB.sub(_mask_blob, cleaned)
    return cleaned if len(cleaned) <= limit else cleaned[: limit - 1] + "…"
