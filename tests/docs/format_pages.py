"""Render `docs/format/`: what each wire record is, from the schemas that qmig parses with.

A page is one module of `qmig/wire`: its docstring, then a table for each record, enumeration and
constant, in the module's order; flags that stand in a module of their own come first. Nothing is
typed twice: offsets, sizes, types and meanings come from the declarations, meanings of enumeration
members from the comments beside them. Behind the generated part a page may go on with prose, which
stays.
"""

import importlib
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum, IntFlag
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from construct import Array, Bytes, Const, Construct, FormatField, Renamed

from qmig.wire.record import Counted, WireRecord, field_table, plain

PAGES_DIRECTORY: Final = Path(__file__).resolve().parents[2] / "docs" / "format"

PAGES: Final[dict[str, tuple[str, ...]]] = {
    "magic": ("magic",),
    "framing": ("framing",),
    "ram": ("ram",),
    "mapped_ram": ("mapped_ram",),
    "multifd": ("multifd_flags", "multifd"),
    "live": ("live",),
    "vmdesc": ("vmdesc",),
    "pci": ("pci",),
    "virtio": ("virtio_features", "virtio"),
    "return_path": ("return_path",),
    "libvirt": ("libvirt",),
    "lzop": ("lzop",),
    "salvaged": ("salvaged",),
    "lime": ("lime",),
    "elf": ("elf",),
}
"""Each page and the modules it shows; the last one gives its title and text."""

BEGIN: Final = "<!-- generated from the schemas by `python -m tests.docs.update`: do not edit -->"
END: Final = "<!-- end of the generated part -->"

_INTEGERS: Final = {"B": "8", "H": "16", "L": "32", "Q": "64"}
_MEMBER: Final = re.compile(r"^\s+(?P<name>[A-Z]\w*) = [^#]+?(?:\s+# (?P<comment>.+))?$")
_SMALL: Final = 10  # numbers below are the same in hexadecimal
_LARGE: Final = 1 << 24  # numbers from here on are patterns, not counts


def page_path(name: str) -> Path:
    """Return the file of a page."""
    return PAGES_DIRECTORY / f"{name}.md"


def render_page(name: str) -> str:
    """Return the generated part of a page, with its marks."""
    modules = [importlib.import_module(f"qmig.wire.{module}") for module in PAGES[name]]
    parts = [BEGIN, "", *_docstring(modules[-1], name)]
    for module in modules:
        for thing in _things(module):
            parts += ["", *thing]
    return "\n".join([*parts, "", END, ""])


def replace_generated(page: str, generated: str) -> str:
    """Return a page with its generated part replaced, its prose kept.

    Raises:
        ValueError: the page has no marks.
    """
    if not page:
        return generated
    start, end = page.find(BEGIN), page.find(END)
    if start != 0 or end < 0:
        raise ValueError("a page begins with its generated part")
    return generated + page[end + len(END) + 1 :]


def _docstring(module: ModuleType, name: str) -> Iterator[str]:
    """Turn a module's docstring into Markdown: its first line is the title."""
    title, _, rest = inspect.cleandoc(module.__doc__ or "").partition("\n")
    yield f"# {title.rstrip('.')}"
    yield ""
    yield f"Module `qmig.wire.{name}`."
    in_code = False
    for paragraph in filter(None, rest.strip("\n").split("\n\n")):
        indented = all(line.startswith("    ") for line in paragraph.splitlines() if line)
        if in_code and not indented:
            yield "```"
            in_code = False
        yield ""
        if indented:
            if not in_code:
                yield "```text"
                in_code = True
            yield from (line.removeprefix("    ") for line in paragraph.splitlines())
        else:
            yield re.sub(r"::$", ":", paragraph)
    if in_code:
        yield "```"


def _things(module: ModuleType) -> Iterator[list[str]]:
    for name, value in vars(module).items():
        if name.startswith("_"):
            continue
        if isinstance(value, type):
            if value.__module__ != module.__name__ or value.__name__ != name:
                continue
            if issubclass(value, WireRecord):
                yield _record(value)
            elif issubclass(value, IntEnum | IntFlag):
                yield _enumeration(value)
        elif name.isupper() and f"\n{name}: Final" in inspect.getsource(module):
            yield from _constant(name, value)


def _record(record: type[WireRecord]) -> list[str]:
    fixed = field_table(record)  # the fields in front of the first counted one
    fixed_len = sum(length for _, length in fixed.values())
    rows: list[Sequence[str]] = []
    total, counted = 0, False
    for subcon in record.SCHEMA.subcons:
        inner = plain(subcon)
        if isinstance(inner, Counted):
            head_len = inner.lengthfield.sizeof()
            size, counted = f"{head_len} + n", True
            total += head_len
        else:
            size = str(subcon.sizeof())
            total += subcon.sizeof()
        offset = str(fixed_len) if len(rows) == len(fixed) else "behind"
        if subcon.name in fixed:
            offset = str(fixed[subcon.name][0])
        rows.append((offset, f"`{subcon.name}`", size, _type(subcon), record.DOCS[subcon.name]))
    length = f"{total} byte{'s' if total > 1 else ''}" + (" and the counted ones" * counted)
    return [
        f"## {record.__name__}",
        "",
        inspect.cleandoc(record.__doc__ or ""),
        "",
        f"Length: {length}.",
        "",
        *_table(("offset", "field", "bytes", "type", "meaning"), rows),
    ]


def _type(subcon: Construct) -> str:
    """Say what a field is; constants with their value."""
    inner = subcon.subcon if isinstance(subcon, Renamed) else subcon
    if isinstance(inner, Const):
        value = inner.value
        shown = f"0x{value:x}" if isinstance(value, int) and value >= _SMALL else _value(value)
        return f"{_type(inner.subcon)} = {shown}"
    if isinstance(inner, Counted):
        return inner.word
    if isinstance(inner, FormatField):
        order, code = inner.fmtstr[0], inner.fmtstr[1]
        bits = _INTEGERS[code]
        return f"u{bits}" if bits == "8" else f"{'be' if order == '>' else 'le'}{bits}"
    if isinstance(inner, Array):
        return f"{inner.count} x {_type(inner.subcon)}"
    if isinstance(inner, Bytes):
        return "bytes"
    raise TypeError(f"no words for {inner!r}")


def _enumeration(enumeration: type[IntEnum] | type[IntFlag]) -> list[str]:
    comments = dict(_member_comments(enumeration))
    widest = max(enumeration).bit_length()
    rows: list[tuple[str, ...]] = [
        (_number(int(member), widest), f"`{name}`", comments.get(name) or "")
        for name, member in enumeration.__members__.items()
    ]
    if not any(row[2] for row in rows):
        rows = [row[:2] for row in rows]
    columns = ("value", "name", "remark")[: len(rows[0])]
    return [
        f"## {enumeration.__name__}",
        "",
        inspect.cleandoc(enumeration.__doc__ or ""),
        "",
        *_table(columns, rows),
    ]


def _member_comments(enumeration: type) -> Iterator[tuple[str, str | None]]:
    for line in inspect.getsource(enumeration).splitlines():
        match = _MEMBER.match(line)
        if match:
            yield match["name"], match["comment"]


def _constant(name: str, value: object) -> Iterator[list[str]]:
    if isinstance(value, Mapping):
        rows = [(f"`{getattr(key, 'name', key)}`", _value(item)) for key, item in value.items()]
        yield [f"## {name}", "", *_table(("of", "value"), rows)]
    elif isinstance(value, int | bytes):
        yield [f"`{name}` = {_value(value)}"]
    elif isinstance(value, tuple):
        yield [f"`{name}` = {', '.join(_value(item) for item in value)}"]
    elif isinstance(value, str):
        yield [f"`{name}` = `{value}`"]


def _number(number: int, widest: int) -> str:
    digits = max(2, -(-widest // 4))
    return f"0x{number:0{digits}x}"


def _value(value: Any) -> str:  # noqa: ANN401  # of any constant
    if value is None:
        return "varies"
    if isinstance(value, bytes):
        printable = value.isascii() and value.decode("ascii", "replace").isprintable()
        return f"`{value.decode()}`" if printable else f"`{value.hex(' ')}`"
    if isinstance(value, int):
        if value >= _LARGE:
            return f"0x{value:x}"
        return str(int(value)) if value < _SMALL else f"{int(value)} (0x{value:x})"
    raise TypeError(f"no words for {value!r}")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for row in (head, ["---"] * len(head), *rows):
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
