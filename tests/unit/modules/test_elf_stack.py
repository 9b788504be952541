"""The executable-stack flag of ELF files: cleared where it is, nothing else touched, damaged files refused."""

from __future__ import annotations

import importlib
import struct
from pathlib import Path

import pytest

elf = importlib.import_module("ansible.module_utils.antiseche_elf_stack")
READ, WRITE, EXECUTE = 4, 2, 1
LOAD = 1


def made(flags: int, *, bits: int = 64, order: str = "<", kind: int = elf.PT_GNU_STACK, tail: bytes = b"code") -> bytes:
    """Return an ELF file with a loadable segment that may be executed, then the header under test."""
    head = b"\x7fELF" + bytes([2 if bits == 64 else 1, 1 if order == "<" else 2, 1]) + bytes(9)
    if bits == 64:
        head += struct.pack(f"{order}HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
        entries = [struct.pack(f"{order}IIQQQQQQ", which, given, *[0] * 6) for which, given in ((LOAD, 5), (kind, flags))]
    else:
        head += struct.pack(f"{order}HHIIIIIHHHHHH", 3, 3, 1, 0, 52, 0, 0, 52, 32, 2, 0, 0, 0)
        entries = [struct.pack(f"{order}IIIIIIII", which, *[0] * 5, given, 0) for which, given in ((LOAD, 5), (kind, flags))]
    return head + b"".join(entries) + tail


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("order", ["<", ">"])
def test_only_the_stacks_flag_is_cleared(bits: int, order: str) -> None:
    given = made(READ | WRITE | EXECUTE, bits=bits, order=order)
    assert elf.asks_executable_stack(given)
    repaired = elf.without_executable_stack(given)
    assert not elf.asks_executable_stack(repaired)
    assert repaired == made(READ | WRITE, bits=bits, order=order)


@pytest.mark.parametrize("given", [made(READ | WRITE), made(READ | WRITE | EXECUTE, kind=LOAD)])
def test_a_sound_file_stays_as_it_is(given: bytes) -> None:
    assert not elf.asks_executable_stack(given)
    assert elf.without_executable_stack(given) == given


def test_a_real_program_is_read() -> None:
    assert not elf.asks_executable_stack(Path("/proc/self/exe").read_bytes())


@pytest.mark.parametrize(
    "given",
    [
        b"",
        b"MZ" + bytes(100),
        b"\x7fELF",
        b"\x7fELF" + bytes([9, 1]) + bytes(100),
        b"\x7fELF" + bytes([2, 9]) + bytes(100),
        made(7)[:40],
        made(7, tail=b"")[:-1],
        made(7)[:54] + struct.pack("<H", 8) + made(7)[56:],
        made(7)[:32] + struct.pack("<Q", 2**63) + made(7)[40:],
    ],
)
def test_what_is_damaged_is_refused(given: bytes) -> None:
    with pytest.raises(elf.ElfError):
        elf.without_executable_stack(given)
