"""Volatility's symbol table (ISF) of a kernel, made from its debug symbols.

`python -m tests.linux.symbol_table VMLINUX OUT.json.xz`. Volatility's own tool for this is
dwarf2json; here drgn reads the kernel, so that everything comes from packages.
"""

from __future__ import annotations

import base64
import hashlib
import json
import lzma
import os
import struct
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import Any, Final

from drgn import BadDataError, Object, Program, Type, TypeKind, TypeMember, sizeof

_FORMAT: Final = "6.2.0"
_BANNER: Final = "linux_banner"  # by whose text Volatility knows the kernel
_MOST_TEXT: Final = 4096
_ELF_HEAD: Final = struct.Struct("<32xQ14xHH")  # e_phoff, e_phentsize, e_phnum
_ELF_SEGMENT: Final = struct.Struct("<8xQQ8xQ")  # p_offset, p_vaddr, p_filesz
# Types that Volatility's Linux code names, whether a variable leads to them or not.
_ROOTS: Final = (
    *("task_struct", "mm_struct", "vm_area_struct", "file", "super_block", "dentry", "inode"),
    *("fs_struct", "files_struct", "cred", "module", "mount", "vfsmount", "mnt_namespace"),
    *("net", "socket", "sock", "inet_sock", "unix_sock", "kobject", "idr", "page", "qstr"),
    *("address_space", "list_head", "hlist_head", "rb_root", "maple_tree", "kernel_symbol"),
    *("timespec64", "timekeeper", "pid_namespace", "upid", "elf64_hdr", "elf64_sym"),
)
_COMPOUNDS: Final = {TypeKind.STRUCT: "struct", TypeKind.UNION: "union", TypeKind.CLASS: "struct"}
_SCALARS: Final = (TypeKind.INT, TypeKind.BOOL, TypeKind.FLOAT)
_VOID: Final = {"kind": "base", "name": "void"}

Json = dict[str, Any]


class SymbolTable:
    """The types and symbols of a kernel.

    Args:
        vmlinux: the kernel with its debug symbols.
    """

    def __init__(self, vmlinux: Path) -> None:
        self._vmlinux = vmlinux
        self._program = Program()
        module = self._program.extra_module(vmlinux.name, create=True)
        module.try_file(vmlinux, force=True)
        self._base: Json = {
            "void": {"size": 0, "signed": False, "kind": "void", "endian": "little"},
            "pointer": {"size": 8, "signed": False, "kind": "int", "endian": "little"},
        }
        self._user: Json = {}
        self._enums: Json = {}
        self._waiting: deque[tuple[str, Type]] = deque()

    def as_json(self) -> Json:
        """Return the whole table."""
        symbols = {name: self._symbol(name, addr) for name, addr in self._addresses().items()}
        for name in _ROOTS:
            self._reference(self._program.type(f"struct {name}"))
        while self._waiting:
            name, kind = self._waiting.popleft()
            self._user[name] = self._compound(kind)
        return {
            "metadata": {
                "format": _FORMAT,
                "producer": {"name": Path(__file__).stem, "version": "1"},
            },
            "base_types": self._base,
            "user_types": self._user,
            "enums": self._enums,
            "symbols": symbols,
        }

    def _addresses(self) -> dict[str, int]:
        done = subprocess.run(
            ["nm", str(self._vmlinux)], capture_output=True, text=True, check=True
        )
        words = [line.split() for line in done.stdout.splitlines()]
        return {entry[2]: int(entry[0], 16) for entry in words if len(entry) == 3}

    def _symbol(self, name: str, addr: int) -> Json:
        symbol: Json = {"address": addr}
        try:
            variable: Object = self._program.variable(name)
        except (LookupError, BadDataError):
            return symbol  # a function, from assembly, or a constant that drgn cannot read
        if variable.absent_ or variable.address_ == addr:
            symbol["type"] = self._reference(variable.type_)
        if name == _BANNER:
            symbol["constant_data"] = base64.b64encode(self._text_at(addr)).decode()
        return symbol

    def _text_at(self, addr: int) -> bytes:
        """Return the text at an address of the kernel, with the NUL behind it."""
        with self._vmlinux.open("rb") as file:
            head = file.read(_ELF_HEAD.size)
            first, entry_len, count = _ELF_HEAD.unpack(head)
            for number in range(count):
                file.seek(first + number * entry_len)
                offset, start, length = _ELF_SEGMENT.unpack(file.read(_ELF_SEGMENT.size))
                if start <= addr < start + length:
                    file.seek(offset + addr - start)
                    return file.read(_MOST_TEXT).partition(b"\0")[0] + b"\0"
        raise LookupError(f"{self._vmlinux} has nothing at 0x{addr:x}")

    def _reference(self, kind: Type) -> Json:
        """Return how a type is referred to, and see to it that it is in the table."""
        name = ""
        while kind.kind == TypeKind.TYPEDEF:
            name, kind = kind.name, kind.type
        what = kind.kind
        if what in _COMPOUNDS:
            return {"kind": _COMPOUNDS[what], "name": self._declared(kind, name)}
        if what == TypeKind.ENUM:
            return self._enum(kind, name)
        if what in _SCALARS:
            return self._scalar(kind)
        if what == TypeKind.POINTER:
            return {"kind": "pointer", "subtype": self._reference(kind.type)}
        if what == TypeKind.ARRAY:
            count = kind.length or 0
            return {"kind": "array", "count": count, "subtype": self._reference(kind.type)}
        return {"kind": "function"} if what == TypeKind.FUNCTION else dict(_VOID)

    def _declared(self, kind: Type, alias: str) -> str:
        name = kind.tag or alias or _unnamed(kind)
        if name not in self._user:
            self._user[name] = None  # it is on its way
            self._waiting.append((name, kind))
        return name

    def _compound(self, kind: Type) -> Json:
        what = _COMPOUNDS[kind.kind]
        if not kind.is_complete():
            try:
                kind = self._program.type(f"{what} {kind.tag}")
            except LookupError:
                return {"kind": what, "size": 0, "fields": {}}
        fields: Json = {}
        for number, member in enumerate(kind.members):
            fields[member.name or f"unnamed_field_{number}"] = self._field(member)
        return {"kind": what, "size": kind.size, "fields": fields}

    def _field(self, member: TypeMember) -> Json:
        refers = self._reference(member.type)
        field: Json = {"type": refers, "offset": member.bit_offset // 8}
        if member.bit_field_size is not None:
            unit_bits = 8 * sizeof(member.type)
            field["offset"] = member.bit_offset // unit_bits * unit_bits // 8
            field["type"] = {
                "kind": "bitfield",
                "bit_position": member.bit_offset % unit_bits,
                "bit_length": member.bit_field_size,
                "type": refers,
            }
        if member.name is None:
            field["anonymous"] = True
        return field

    def _enum(self, kind: Type, alias: str) -> Json:
        if not kind.is_complete():
            return self._scalar(self._program.type("unsigned int"))
        name = kind.tag or alias or _unnamed(kind)
        if name not in self._enums:
            base = self._scalar(kind.type)["name"]
            constants = {each.name: each.value for each in kind.enumerators}
            size = self._base[base]["size"]
            self._enums[name] = {"size": size, "base": base, "constants": constants}
        return {"kind": "enum", "name": name}

    def _scalar(self, kind: Type) -> Json:
        while kind.kind == TypeKind.TYPEDEF:
            kind = kind.type
        if kind.name not in self._base:
            whole = "char" if kind.size == 1 else "int"
            kinds = {TypeKind.BOOL: "bool", TypeKind.FLOAT: "float"}
            self._base[kind.name] = {
                "size": kind.size,
                "signed": kind.kind == TypeKind.INT and kind.is_signed,
                "kind": kinds.get(kind.kind, whole),
                "endian": "little",
            }
        return {"kind": "base", "name": kind.name}


def _unnamed(kind: Type) -> str:
    """Return a name for a type that has none: the same for the same definition."""
    return f"unnamed_{hashlib.sha256(str(kind).encode()).hexdigest()[:16]}"


def write_symbol_table(vmlinux: Path, out: Path) -> None:
    """Write the symbol table of a kernel.

    Args:
        vmlinux: the kernel with its debug symbols.
        out: the file, compressed with xz; it appears when it is complete.
    """
    table = SymbolTable(vmlinux).as_json()
    partial = out.with_suffix(f".{os.getpid()}")  # workers may make it at the same time
    with lzma.open(partial, "wt", preset=1) as file:
        json.dump(table, file)
    partial.rename(out)


if __name__ == "__main__":
    write_symbol_table(*map(Path, sys.argv[1:]))
