"""The tables of the text: sections, RAM blocks, multifd channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from qmig.render.document import why
from qmig.render.table import Column, table
from qmig.render.words import grouped, hex_offset, plural, share, short_size, wrapped

if TYPE_CHECKING:
    from qmig.render.document import Document


class _Row(NamedTuple):
    """One row of the section table."""

    offset: int
    length: int
    kind: str
    name: str
    section_id: str = ""
    instance_id: str = ""
    version_id: str = ""
    note: str = ""


_SECTION_COLUMNS = (
    Column("offset"),
    Column("length", right=True),
    Column("share", right=True),
    Column("type"),
    Column("id", right=True),
    Column("name", flexible=True),
    Column("inst", right=True),
    Column("ver", right=True),
    Column("note", optional=True),
)
_EXTENT_NOTES = {
    "grammar": "",
    "vmdescription": "",
    "footer": "by footer",
    "guess": "by trying",
}
_LEGENDS = (
    ("package", "package: inside the blob of PACKAGED, which a postcopy destination reads whole"),
    ("by footer", "by footer: nothing but its footer tells where the section ends"),
    ("by trying", "by trying: nothing tells where the section ends; the next header was searched"),
)
_FILE_HEADER_LEN = 8
_NO_TYPE = "-"


def section_lines(report: Document, connection: Document | None = None) -> list[str]:
    """Return the table of sections, commands and all else in a main stream.

    Args:
        report: the document.
        connection: the one that resumed the migration, where the table is about that.
    """
    if connection is not None:
        rows = _rows(connection["sections"], connection["commands"])
        whole = sum(row.length for row in rows)
    else:
        rows = _rows(report["sections"], [])
        whole = sum(row.length for row in rows)
        if report["stream"] is not None:
            stream = report["stream"]
            rows = sorted([*rows, *_frame_rows(stream), *_rows([], stream["commands"])])
            whole = stream["length"] + sum(
                stream[part]["length"] for part in ("behind_end", "not_read") if stream[part]
            )
    if not rows:
        return ["  none"]
    lines = table(
        _SECTION_COLUMNS,
        [
            (
                hex_offset(row.offset),
                grouped(row.length),
                share(row.length, whole),
                row.kind,
                row.section_id,
                row.name,
                row.instance_id,
                row.version_id,
                row.note,
            )
            for row in rows
        ],
    )
    notes = " ".join(row.note for row in rows)
    legends = [text for word, text in _LEGENDS if word in notes]
    return lines + [line for text in legends for line in wrapped(text, first="  ", rest="    ")]


def _rows(sections: list[Document], commands: list[Document]) -> list[_Row]:
    rows = [
        _Row(
            section["offset"],
            section["length"],
            _times(section["type"], section["count"]),
            section["name"],
            str(section["section_id"]),
            str(section["instance_id"]),
            str(section["version_id"]),
            _section_note(section),
        )
        for section in sections
    ]
    rows += [
        _Row(
            command["offset"],
            command["length"],
            "COMMAND",
            _times(command["name"], command["count"]),
        )
        for command in commands
    ]
    return sorted(rows)


def _times(word: str, count: int) -> str:
    return word if count == 1 else f"{word} x{grouped(count)}"


def _section_note(section: Document) -> str:
    notes = ["package"] if section["in_package"] else []
    notes += [_EXTENT_NOTES[section["extent"]]] if _EXTENT_NOTES[section["extent"]] else []
    notes += [] if section["complete"] else ["NOT WHOLE"]
    return ", ".join(notes)


def _frame_rows(stream: Document) -> list[_Row]:
    """Return the rows of what is no section: header, configuration, EOF, and what follows."""
    rows: list[_Row] = []
    if stream["header_version"] is not None:
        rows.append(_Row(stream["offset"], _FILE_HEADER_LEN, _NO_TYPE, "file header"))
    for part, name in (
        ("configuration", "configuration"),
        ("vmdescription", "vmdescription"),
        ("not_read", "NOT READ"),
    ):
        if stream[part] is not None and stream[part]["length"]:
            rows.append(_Row(stream[part]["offset"], stream[part]["length"], _NO_TYPE, name))
    behind = stream["behind_end"]
    if behind is not None:
        name = "padding" if behind["zeros"] else "TRAILING DATA"
        rows.append(_Row(behind["offset"], behind["length"], _NO_TYPE, name))
    if stream["eof_offset"] is not None:
        rows.append(_Row(stream["eof_offset"], 1, _NO_TYPE, "EOF"))
    return rows


# -- RAM ------------------------------------------------------------------------------------------

_RECORD_COLUMNS = (
    Column("block", flexible=True),
    Column("size", right=True),
    Column("pages", right=True),
    Column("zero", right=True),
    Column("fill", right=True, optional=True),
    Column("plain", right=True),
    Column("XBZRLE", right=True, optional=True),
    Column("deflated", right=True, optional=True),
    Column("re-sent", right=True),
    Column("never sent", right=True, optional=True),
    Column("wire bytes", right=True),
    Column("addr", right=True, optional=True),
    Column("host page", right=True, optional=True),
)
_MAPPED_COLUMNS = (
    Column("block", flexible=True),
    Column("size", right=True),
    Column("pages", right=True),
    Column("pages set", right=True),
    Column("header", right=True),
    Column("bitmap", right=True),
    Column("pages at", right=True),
    Column("addr", right=True, optional=True),
)


def ram_lines(report: Document) -> list[str]:
    """Return the table of RAM blocks."""
    ram = report["ram"]
    blocks = ram["blocks"]
    if not blocks:
        return ["  no block list was read"]
    mapped = ram["layout"] == "mapped-ram"
    total = f"{plural(len(blocks), 'block')}, {short_size(ram['total_length'])} in all; "
    how = (
        "mapped-ram: each page has its fixed place in the file"
        if mapped
        else "pages as records, by kind; a page that was sent again counts again"
    )
    lines = wrapped(total + how, first="  ", rest="  ")
    if mapped:
        return lines + table(_MAPPED_COLUMNS, [_mapped_row(block) for block in blocks])
    return lines + table(_RECORD_COLUMNS, [_record_row(block) for block in blocks])


def _record_row(block: Document) -> tuple[str, ...]:
    sent = block["pages_sent"]
    return (
        block["name"],
        short_size(block["used_length"]),
        _number(block["pages"]),
        grouped(sent["zero"]),
        grouped(sent["fill"]),
        grouped(sent["plain"]),
        grouped(sent["xbzrle"]),
        grouped(sent["compressed"] + sent["raw_deflate"]),
        _number(block["pages_resent"]),
        _number(block["pages_never_sent"]),
        _number(block["wire_length"]),
        "" if block["addr"] is None else hex_offset(block["addr"]),
        "" if block["host_page_size"] is None else short_size(block["host_page_size"]),
    )


def _mapped_row(block: Document) -> tuple[str, ...]:
    layout = block["mapped"]
    addr = "" if block["addr"] is None else hex_offset(block["addr"])
    head = (block["name"], short_size(block["used_length"]), _number(block["pages"]))
    if layout is None:
        return (*head, "not saved", "", "", "", addr)
    return (
        *head,
        _number(layout["pages_set"]),
        hex_offset(layout["header_offset"]),
        hex_offset(layout["bitmap_offset"]),
        hex_offset(layout["pages_offset"]),
        addr,
    )


def _number(value: int | None) -> str:
    return "?" if value is None else grouped(value)


# -- channels -------------------------------------------------------------------------------------

_CHANNEL_COLUMNS = (
    Column("id", right=True),
    Column("file", flexible=True),
    Column("packets", right=True),
    Column("pages", right=True),
    Column("zero", right=True),
    Column("syncs", right=True),
    Column("compression"),
    Column("device state", right=True, optional=True),
    Column("bytes", right=True),
    Column("remark", optional=True),
)


def channel_lines(channels: list[Document]) -> list[str]:
    """Return the table of multifd channels."""
    if not channels:
        return ["  none was given"]
    lines = table(
        _CHANNEL_COLUMNS,
        [
            (
                _number(channel["channel_id"]),
                channel["file"],
                grouped(channel["packets"]),
                grouped(channel["normal_pages"]),
                grouped(channel["zero_pages"]),
                grouped(channel["syncs"]),
                ", ".join(channel["compression"]) or "-",
                _device_state(channel),
                grouped(channel["length"]),
                "" if channel["complete"] else "NOT WHOLE",
            )
            for channel in channels
        ],
    )
    uuids = {channel["uuid"] or why(channel, "uuid") for channel in channels}
    if len(uuids) == 1:
        return [*lines, f"  UUID of all: {uuids.pop()}"]
    return lines + [f"  UUID of {c['channel_id']}: {c['uuid'] or why(c, 'uuid')}" for c in channels]


def _device_state(channel: Document) -> str:
    packets = channel["device_state_packets"]
    if not packets:
        return ""
    return f"{plural(packets, 'packet')}, {short_size(channel['device_state_length'])}"
