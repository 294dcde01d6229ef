"""Devices as text for people: a table of all, or the fields of some, at most 100 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from qmig.devices.facts import facts_of
from qmig.devices.live_facts import LIVE_FACTS, live_facts
from qmig.devices.tree import ARRAY, LIST, Blob, Field, Group, Node, Numbers
from qmig.render.report_devices import TIMER, clean, text_of_bytes, timer_text
from qmig.render.table import Column, pairs, table
from qmig.render.text import plain
from qmig.render.words import (
    CUT_MARK,
    WIDTH,
    columns,
    cut,
    full_size,
    grouped,
    harmless,
    hex_offset,
    plural,
    share,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from qmig.capture.capture import Capture
    from qmig.devices.devices import Device, Devices
    from qmig.render.report_devices import Chosen

_STEP: Final = "  "
_NAME_WIDTH: Final = 26
_KIND_WIDTH: Final = 14
_MOST_INDENT: Final = 24
_ROW_LEN: Final = 16
_SHORT_LEN: Final = 16
_FEW: Final = 10
_LARGE: Final = 1 << 16
_BLOB_SHOWN_LEN: Final = 256


def table_lines(
    capture: Capture,
    devices: Devices,
    *,
    heading: Callable[[str], str] = plain,
    offsets: bool = False,
    by_size: bool = False,
) -> Iterator[str]:
    """Yield a table of all devices, and what live sections hold.

    Args:
        capture: the capture.
        devices: its devices.
        heading: gives headings their style.
        offsets: whether to show where each section lies.
        by_size: whether the largest ones come first, each with its share.
    """
    total = sum(device.length for device in devices)
    listed = list(devices)
    if by_size:
        listed.sort(key=lambda device: -device.length)
    rows = []
    for device in listed:
        rows.append(
            [
                hex_offset(device.section_offset) if offsets else "",
                device.name,
                str(device.instance_id),
                str(device.version_id),
                grouped(device.length),
                share(device.length, total) if by_size else "",
                _what(device),
            ]
        )
        device.forget()
    yield heading("Devices")
    yield f"{_STEP}{plural(len(devices), 'device')}, {full_size(total)}"
    if devices.undescribed is not None:
        yield f"{_STEP}their fields are not known: {harmless(devices.undescribed)}"
    if rows:
        shown = (
            Column("offset", optional=True),
            Column("name", flexible=True),
            Column("inst", right=True),
            Column("ver", right=True),
            Column("bytes", right=True),
            Column("share", right=True, optional=True),
            Column("what it is", flexible=True),
        )
        yield from table(shown, rows)
    for part in live_parts(capture, LIVE_FACTS, heading=heading):
        yield ""
        yield from part


def live_parts(
    capture: Capture, sections: Iterable[str], *, heading: Callable[[str], str] = plain
) -> Iterator[list[str]]:
    """Yield what live sections hold, each one's lines.

    Args:
        capture: the capture.
        sections: the sections, by name.
        heading: gives headings their style.
    """
    for name, value in clean(live_facts(capture, sections)).items():
        yield [heading(_words(name).capitalize()), *_fact_lines(value, _STEP)]


def _what(device: Device) -> str:
    what, _ = facts_of(device)
    if device.error is not None:
        return "DAMAGED: " + (what or "not decoded to its end")
    layout = device.tree.kind
    return what or (layout if layout != device.name else "")


def device_lines(
    chosen: Sequence[Chosen],
    *,
    heading: Callable[[str], str] = plain,
    offsets: bool = False,
) -> Iterator[str]:
    """Yield what was selected: each device with its fields.

    Args:
        chosen: the devices, and which of their fields.
        heading: gives headings their style.
        offsets: whether to show the offset and length of each field.
    """
    for at, (device, nodes, facts) in enumerate(chosen):
        if at:
            yield ""
        yield heading(cut(harmless(device.path), WIDTH))
        if nodes is None:
            yield from _whole_lines(device, heading, offsets=offsets)
        for node in nodes or ():
            yield from _node_lines(node, _STEP, offsets=offsets)
        if facts:
            yield from pairs(
                [(name, _fact_text(name, clean(value))) for name, value in facts.items()]
            )
        device.forget()


def _whole_lines(device: Device, heading: Callable[[str], str], *, offsets: bool) -> Iterator[str]:
    what, facts = facts_of(device)
    rows = [
        ("what it is", what),
        ("version", str(device.version_id)),
        ("bytes", f"{grouped(device.length)}, from {hex_offset(device.offset)}"),
        ("not known", f"its fields: {device.undescribed}" if device.undescribed else ""),
        ("damaged", str(device.error) if device.error else ""),
    ]
    yield from pairs([row for row in rows if row[1]])
    if facts:
        yield heading("  By name")
        yield from _fact_lines(clean(facts), _STEP * 2)
    yield heading("  Fields")
    for node in device.tree.children:
        yield from _node_lines(node, _STEP * 2, offsets=offsets)


# -- facts ----------------------------------------------------------------------------------------


def _fact_lines(value: Any, indent: str) -> Iterator[str]:  # noqa: ANN401  # any JSON value
    if isinstance(value, list) and value and isinstance(value[0], dict):
        heads = list(dict.fromkeys(name for row in value for name in row))
        rows = [[_cell(name, row.get(name)) for name in heads] for row in value]
        shown = [
            Column(_words(name), right=isinstance(value[0].get(name), int), flexible=True)
            for name in heads
        ]
        lines = table(shown, rows, width=WIDTH - len(indent) + len(_STEP))
        yield from (indent[len(_STEP) :] + line for line in lines)
    elif isinstance(value, dict):
        simple = [
            (_words(name), _fact_text(name, item))
            for name, item in value.items()
            if not _is_nested(item)
        ]
        yield from (line.rstrip() for line in pairs(simple, indent=indent))
        for name, item in value.items():
            if _is_nested(item):
                yield indent + _words(name)
                yield from _fact_lines(item, indent + _STEP)


def _is_nested(value: object) -> bool:
    return isinstance(value, dict) or (
        isinstance(value, list) and bool(value) and isinstance(value[0], dict)
    )


def _cell(name: str, value: object) -> str:
    """Return a fact for a table, where large numbers stand in hexadecimal alone."""
    if isinstance(value, int) and value >= _LARGE and not name.endswith("_len"):
        return f"0x{value:x}"
    return _fact_text(name, value)


def _fact_text(name: str, value: object) -> str:
    if isinstance(value, list):
        return ", ".join(_fact_text(name, item) for item in value) or "none"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: ""}[value]
    if isinstance(value, int):
        if name.endswith("_addr") or name == "addr":
            return f"0x{value:x}"
        return grouped(value) if name.endswith("_len") else number_text(value)
    return harmless(str(value))


def _words(name: str) -> str:
    return name.removesuffix("_addr").removesuffix("_len").replace("_", " ")


# -- fields ---------------------------------------------------------------------------------------


def _node_lines(node: Node, indent: str, *, offsets: bool) -> Iterator[str]:
    if isinstance(node, Group):
        if not node.children and node.form in (ARRAY, LIST):
            yield _line(node, indent, _type_text(node), "no elements", offsets=offsets)
            return
        yield _line(node, indent, _type_text(node), "", offsets=offsets)
        for child in node.children:
            yield from _node_lines(child, _deeper(indent), offsets=offsets)
    elif isinstance(node, Numbers):
        yield from _number_lines(node, indent, offsets=offsets)
    elif isinstance(node.value, bytes | Blob):
        yield from _byte_lines(node, indent, offsets=offsets)
    else:
        yield _line(node, indent, node.kind, _value_text(node), offsets=offsets)


def _deeper(indent: str) -> str:
    return indent + _STEP if len(indent) < _MOST_INDENT else indent


def _line(node: Node, indent: str, kind: str, value: str, *, offsets: bool) -> str:
    where = f"{_STEP}{hex_offset(node.offset)} {node.length:>6}" if offsets else ""
    name = indent + harmless(node.name)
    left = cut(name, WIDTH // 2).ljust(len(_STEP) * 2 + _NAME_WIDTH)
    line = f"{where}{left}  {cut(harmless(kind), _KIND_WIDTH * 2).ljust(_KIND_WIDTH)}  {value}"
    return _cut_end(line.rstrip())


def _cut_end(line: str) -> str:
    if columns(line) <= WIDTH:
        return line
    return cut(line, WIDTH)


def _type_text(group: Group) -> str:
    kind = group.kind or group.form
    if group.form == ARRAY:
        return f"{kind} x{len(group.children)}"
    return kind


def _value_text(field: Field) -> str:
    if field.value is None:
        return "NULL"
    if isinstance(field.value, bool):
        return "true" if field.value else "false"
    if field.kind == TIMER:
        return timer_text(field.value)
    return number_text(field.value) if isinstance(field.value, int) else ""


def number_text(value: int) -> str:
    """Return an integer in decimal and hexadecimal: `4096 (0x1000)`."""
    if -_FEW < value < _FEW:
        return str(value)
    return f"{value} ({'-' if value < 0 else ''}0x{abs(value):x})"


def _number_lines(node: Numbers, indent: str, *, offsets: bool) -> Iterator[str]:
    """Yield an array of numbers: an element a line, equal ones behind one another in one."""
    yield _line(node, indent, f"{node.kind} x{len(node.values)}", "", offsets=offsets)
    at = 0
    while at < len(node.values):
        last = at
        while last + 1 < len(node.values) and node.values[last + 1] == node.values[at]:
            last += 1
        element = node.element(at)
        element.name = f"[{at}]" if last == at else f"[{at}..{last}]"
        element.length *= last + 1 - at
        yield _line(element, _deeper(indent), "", _value_text(element), offsets=offsets)
        at = last + 1


def _byte_lines(field: Field, indent: str, *, offsets: bool) -> Iterator[str]:
    """Yield bytes: as text where they are, short ones in one line, others as a dump."""
    kind = f"{field.kind}[{grouped(field.length)}]"
    value = field.value
    data = value.read(_BLOB_SHOWN_LEN) if isinstance(value, Blob) else value
    if not isinstance(data, bytes):
        return
    text = text_of_bytes(data)
    if not any(data) and isinstance(value, bytes):
        shown = "zeros" if data else "empty"
        yield _line(field, indent, kind, shown, offsets=offsets)
    elif text is not None and isinstance(value, bytes):
        yield _line(field, indent, kind, f'"{text}"', offsets=offsets)
    elif len(data) <= _SHORT_LEN:
        yield _line(field, indent, kind, data.hex(" "), offsets=offsets)
    else:
        yield _line(field, indent, kind, "", offsets=offsets)
        yield from dump_lines(data, _deeper(indent))
        if isinstance(value, Blob):
            yield f"{_deeper(indent)}{CUT_MARK} {grouped(value.length - len(data))} bytes more"


def dump_lines(data: bytes, indent: str) -> Iterator[str]:
    """Yield bytes in rows of 16; rows that are like the one before are told by a star."""
    before, starred = b"", False
    for at in range(0, len(data), _ROW_LEN):
        row = data[at : at + _ROW_LEN]
        if row == before:
            if not starred:
                yield f"{indent}*"
            starred = True
            continue
        before, starred = row, False
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
        yield f"{indent}{at:06x}  {row.hex(' ', 4):<35}  {text}".rstrip()
