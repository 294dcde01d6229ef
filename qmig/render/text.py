"""The document as text for people: at most 100 columns, readable without colour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qmig.render.document import Document, why
from qmig.render.table import pairs
from qmig.render.text_load import load_lines, release_text
from qmig.render.text_tables import channel_lines, ram_lines, section_lines
from qmig.render.words import (
    cut,
    full_size,
    grouped,
    harmless,
    hex_offset,
    plural,
    short_size,
    wrapped,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_NAME_WIDTH = 70
_MOST_COMMANDS = 8
_BULLET = "  - "


def plain(text: str) -> str:
    """Return text as it is: the style without colour."""
    return text


def bold(text: str) -> str:
    """Return text in bold, for a terminal."""
    return f"\x1b[1m{text}\x1b[0m"


def text_lines(
    report: Document, *, heading: Callable[[str], str] = plain, with_errors: bool = False
) -> Iterator[str]:
    """Yield the lines of a report.

    Args:
        report: the document of `qmig.render.report`.
        heading: gives headings their style.
        with_errors: whether the errors are told, too (they go to standard error otherwise).
    """
    first = True
    for title, lines in _sections(report, with_errors=with_errors):
        if not first:
            yield ""
        first = False
        yield heading(title)
        yield from lines


def _sections(report: Document, *, with_errors: bool) -> Iterator[tuple[str, list[str]]]:
    whole = report["written_by"] is not None
    if whole:
        yield ("Files" if len(report["files"]) > 1 else "File"), _file_lines(report["files"])
        if report["stream"] is not None:
            yield "Main stream", _stream_lines(report["stream"])
        yield "Written by", _written_by_lines(report["written_by"])
        yield "To load it", load_lines(report)
    if report["sections"] is not None:
        yield "Sections", section_lines(report)
    for connection in report["resumed"] or ():
        name = harmless(connection["file"])
        yield f"Resumed by {cut(name, _NAME_WIDTH)}", section_lines(report, connection)
    if report["ram"] is not None:
        yield "RAM", ram_lines(report)
    if report["channels"] or (report["channels"] is not None and not whole):
        yield "Channels", channel_lines(report["channels"])
    if report["stream"] is not None:
        yield "Behind the end", _behind_lines(report["stream"], resumed=bool(report["resumed"]))
    if report["remarks"]:
        yield "Remarks", [line for item in report["remarks"] for line in _remark_lines(item)]
    if with_errors and report["errors"]:
        yield (
            "Errors",
            [
                line
                for error in report["errors"]
                for line in wrapped(harmless(error["text"]), first=_BULLET, rest="    ")
            ],
        )


# -- files ----------------------------------------------------------------------------------------


def _file_lines(files: list[Document]) -> list[str]:
    lines: list[str] = []
    for file in files:
        size = "size not known" if file["size"] is None else short_size(file["size"])
        what = f"{size}, {_ROLES[file['role']]}"
        name = cut(harmless(file["path"]), 100 - 4 - len(what))
        lines.append(f"  {name}  {what}")
        for layer in file["layers"]:
            lines += wrapped(harmless(_layer_text(layer)), first="    ", rest="      ")
        if file["layers"]:
            lines += wrapped(_place_text(file), first="    ", rest="      ")
    return lines


_ROLES = {
    "main": "main stream",
    "channel": "multifd channel",
    "recovery": "a connection that resumed a postcopy migration",
    "preempt": "postcopy-preempt channel",
}


def _layer_text(layer: Document) -> str:
    if layer["kind"] == "compressor":
        return f"compressed with {layer['codec']}"
    if layer["kind"] == "bytes in front":
        return f"{plural(layer['length'], 'byte')} in front of it"
    state = "running" if layer["was_running"] else "not running"
    parts = [f"libvirt save image, format {layer['format']}, the guest was {state}"]
    if layer["domain"] is not None:
        parts.append(f"domain {layer['domain']}")
    parts.append(f"XML of {plural(layer['xml_length'], 'byte')}")
    if layer["cookie_length"] is None:
        parts.append("no cookie")
    else:
        parts.append(f"cookie of {plural(layer['cookie_length'], 'byte')}")
    if layer["big_endian"]:
        parts.append("from a big-endian host")
    if layer["partial"]:
        parts.append("UNFINISHED")
    return ", ".join(parts)


def _place_text(file: Document) -> str:
    where = f"the stream begins at {hex_offset(file['stream_offset'])}"
    if not file["compressed"]:
        return where
    length = file["data_length"]
    size = "" if length is None else f" ({full_size(length)})"
    return f"{where} of the decompressed data{size}; all offsets below count there"


# -- the main stream ------------------------------------------------------------------------------


def _stream_lines(stream: Document) -> list[str]:
    def or_why(name: str, text: Callable[[Any], str] = str) -> str:
        value = stream[name]
        return f"not known: {why(stream, name)}" if value is None else text(value)

    described = stream["vmdescription"]
    rows = [
        ("header", or_why("header_version", lambda version: f"QEVM, version {version}")),
        ("machine type", or_why("machine")),
        (
            "target page size",
            or_why("page_size", lambda size: f"{size['length']} bytes ({size['origin']})"),
        ),
        (
            "capabilities",
            or_why(
                "capabilities",
                lambda names: f"recorded: {', '.join(names)}" if names else "none recorded",
            ),
        ),
        ("UUID", stream["uuid"] or "not recorded"),
        ("guest was", or_why("run_state")),
        ("commands", _commands_text(stream["commands"])),
        ("section footers", or_why("footers", lambda footers: "yes" if footers else "no")),
        (
            "vmdescription",
            f"none: {why(stream, 'vmdescription')}"
            if described is None
            else _described_text(described),
        ),
        (
            "length",
            f"{full_size(stream['length'])}, from {hex_offset(stream['offset'])} to "
            f"{hex_offset(stream['offset'] + stream['length'])}",
        ),
    ]
    return pairs(rows)


def _commands_text(commands: list[Document]) -> str:
    if not commands:
        return "none"
    texts = [
        row["name"] + (f" x{grouped(row['count'])}" if row["count"] > 1 else "") for row in commands
    ]
    if len(texts) > _MOST_COMMANDS:
        more = len(texts) - _MOST_COMMANDS
        texts = [*texts[:_MOST_COMMANDS], f"{more} more (see the sections)"]
    return ", ".join(texts)


def _described_text(described: Document) -> str:
    if described["devices"] is None:
        return f"{plural(described['length'], 'byte')}, {why(described, 'devices')}"
    return f"{plural(described['devices'], 'device')}, {plural(described['length'], 'byte')}"


def _written_by_lines(written_by: Document) -> list[str]:
    lines = wrapped(release_text(written_by["text"]), first="  ", rest="  ")
    rows = [(f"{piece['leaves']}:", piece["what"]) for piece in written_by["evidence"]]
    return lines + pairs(rows, indent="    ")


# -- the end --------------------------------------------------------------------------------------


def _behind_lines(stream: Document, *, resumed: bool) -> list[str]:
    unread, behind = stream["not_read"], stream["behind_end"]
    if unread is not None and resumed:
        return [f"  the connection broke off at {hex_offset(unread['offset'])} and was resumed"]
    if unread is not None:
        where = f"the stream cannot be read beyond {hex_offset(unread['offset'])}"
        left = f"; {full_size(unread['length'])} follow" if unread["length"] else ""
        return [f"  {where}{left}"]
    if behind is None:
        return ["  nothing"]
    what = "zeros" if behind["zeros"] else "data that does not belong to the stream"
    if behind["looked_at_length"] < behind["length"]:
        what += f", as far as the first {full_size(behind['looked_at_length'])} show"
    size = full_size(behind["length"])
    return wrapped(f"{hex_offset(behind['offset'])}: {size} of {what}", first="  ", rest="    ")


def _remark_lines(remark: Document) -> list[str]:
    text = harmless(remark["text"])
    if remark["offset"] is not None:
        text = f"{hex_offset(remark['offset'])} {text}"
    return wrapped(text, first=_BULLET, rest="    ")
