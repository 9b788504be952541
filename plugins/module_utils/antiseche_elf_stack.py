# Copyright: the Antisèche authors. SPDX-License-Identifier: Apache-2.0
"""The executable-stack flag of an ELF file: glibc 2.41 and later refuse to load a library that carries it.

Source of the layout: System V ABI, "Program Header", and the GNU extension PT_GNU_STACK. Debian 12's patchelf cannot clear it.
"""

from __future__ import annotations

import struct

PT_GNU_STACK = 0x6474E551
PF_X = 1
# By class of the file (32, 64 bits): places of e_phoff (and its form), of e_phentsize, of p_flags in an entry; least entry size.
_LAYOUTS = {1: (28, "I", 42, 24, 32), 2: (32, "Q", 54, 4, 56)}


class ElfError(ValueError):
    """Not an ELF file, or a damaged one."""


def is_elf(content: bytes) -> bool:
    """Say whether this is an ELF file."""
    return content.startswith(b"\x7fELF")


def asks_executable_stack(content: bytes) -> bool:
    """Say whether loading this file asks for an executable stack.

    Raises:
        ElfError: not an ELF file, or a damaged one.
    """
    order, places = _stack_flags(content)
    return any(struct.unpack_from(f"{order}I", content, place)[0] & PF_X for place in places)


def without_executable_stack(content: bytes) -> bytes:
    """Return the same file with PF_X cleared in its PT_GNU_STACK headers; nothing else changes.

    Raises:
        ElfError: not an ELF file, or a damaged one.
    """
    order, places = _stack_flags(content)
    repaired = bytearray(content)
    for place in places:
        flags = struct.unpack_from(f"{order}I", content, place)[0]
        struct.pack_into(f"{order}I", repaired, place, flags & ~PF_X)
    return bytes(repaired)


def _stack_flags(content: bytes) -> tuple[str, list[int]]:
    """Return the byte order, and where the flags of each PT_GNU_STACK header are."""
    if not is_elf(content) or len(content) < 20:
        raise ElfError("not an ELF file")
    order = {1: "<", 2: ">"}.get(content[5])
    layout = _LAYOUTS.get(content[4])
    if order is None or layout is None:
        raise ElfError("an ELF file of an unknown class or byte order")
    offset_place, form, size_place, flags_place, least = layout
    try:
        (table,) = struct.unpack_from(f"{order}{form}", content, offset_place)
        size, count = struct.unpack_from(f"{order}HH", content, size_place)
        if count and size < least:
            raise ElfError("a damaged ELF file: its program headers are too short")
        if count and table + size * count > len(content):
            raise ElfError("a damaged ELF file: its program headers end after the file")
        entries = [table + number * size for number in range(count)]
        found = [entry for entry in entries if struct.unpack_from(f"{order}I", content, entry)[0] == PT_GNU_STACK]
    except struct.error as error:
        raise ElfError("a damaged ELF file: it is cut short") from error
    return order, [entry + flags_place for entry in found]
