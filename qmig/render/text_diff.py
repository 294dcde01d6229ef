"""What `qmig diff` tells, as text for people: the summary first, at most 100 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from qmig.render.report_devices import TIMER, text_of_bytes, timer_text
from qmig.render.table import Column, pairs, table
from qmig.render.text import plain
from qmig.render.text_devices import number_text
from qmig.render.words import CUT_MARK, WIDTH, cut, full_size, grouped, harmless, plural, wrapped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qmig.render.document import Document

_STEP: Final = "  "
_MOST_FIELDS: Final = 40  # shown of one section
_MOST_RANGES: Final = 20  # shown of one block
_SHOWN_LEN: Final = 8  # of bytes that differ
_LARGE: Final = 1 << 16
_TITLES: Final = {
    "equal": "A and B are equal",
    "different": "A and B differ",
    "unknown": "It cannot be told whether A and B are equal",
}
_STATES: Final = {
    "differs": "differ",
    "not in a": "not in A",
    "not in b": "not in B",
    "in neither": "in neither",
    "unread": "could not be read",
}


def diff_text_lines(report: Document, *, heading: Callable[[str], str] = plain) -> Iterator[str]:
    """Yield the lines of a document of `qmig diff`.

    Args:
        report: the document.
        heading: gives headings their style.
    """
    yield heading(_TITLES[report["outcome"]])
    yield from pairs(_summary_rows(report))
    parts = (
        ("Configuration", _configuration_lines(report)),
        ("Sections that one alone has", _only_lines(report)),
        ("Sections that differ", _section_lines(report)),
        ("RAM", _ram_lines(report)),
        ("What could not be read", _error_lines(report)),
    )
    for title, lines in parts:
        found = list(lines)
        if found:
            yield ""
            yield heading(title)
            yield from found


def _summary_rows(report: Document) -> list[tuple[str, str]]:
    summary = report["summary"]
    rows = [(letter.upper(), ", ".join(report[letter]["files"])) for letter in ("a", "b")]
    if report["configuration"]:
        rows.append(("configuration", _that_differ(len(report["configuration"]), "value")))
    sections = f"{grouped(summary['sections_in_both'])} in both, "
    sections += _differ(summary["sections_that_differ"]).replace(" ", " of them ", 1)
    for letter in ("a", "b"):
        count = summary[f"sections_only_in_{letter}"]
        sections += f", {grouped(count)} only in {letter.upper()}" if count else ""
    rows.append(("sections", sections))
    rows.append(("fields", _differ(summary["fields_that_differ"])))
    if summary["ignored"]:
        rows.append(("ignored", plural(summary["ignored"], "difference")))
    rows.append(("RAM", _ram_text(report)))
    if report["outcome"] == "unknown":
        rows.append(("not known", "; ".join(_reasons(report))))
    return rows


def _differ(count: int) -> str:
    return f"{grouped(count) if count else 'none'} differ{'s' if count < 2 else ''}"


def _that_differ(count: int, thing: str) -> str:
    return f"{plural(count, thing)} differ{'s' if count == 1 else ''}"


def _reasons(report: Document) -> Iterator[str]:
    """Yield why it cannot be told whether they are equal."""
    for letter in ("a", "b"):
        if report[letter]["errors"]:
            yield f"{letter.upper()} cannot be read to its end"
        if report[letter]["salvaged"]:
            yield f"{letter.upper()} is what was salvaged of a damaged capture"
    if report["ram_unknown"] is not None:
        yield "RAM could not be compared"
    pages = report["summary"]["pages"]
    for state in ("not in a", "not in b", "unread"):
        if pages[state]:
            yield f"{plural(pages[state], 'page')} {_STATES[state]}"
    if pages["in neither"] and not report["accept_missing"]:
        yield (
            f"{plural(pages['in neither'], 'page')} in neither "
            "(--accept-missing takes them for equal)"
        )


def _ram_text(report: Document) -> str:
    if report["ram_unknown"] is not None:
        return "not compared"
    pages = report["summary"]["pages"]
    differing = f"{_differ(pages['differs'])}".replace(
        " ", f" of {plural(sum(pages.values()), 'page')} ", 1
    )
    others = [
        f"{grouped(pages[state])} {words}"
        for state, words in _STATES.items()
        if state != "differs" and pages[state]
    ]
    return ", ".join([differing, *others])


def _configuration_lines(report: Document) -> Iterator[str]:
    if report["configuration"]:
        yield from _field_table(report["configuration"])


def _only_lines(report: Document) -> Iterator[str]:
    rows = [
        [
            one["side"].upper(),
            one["name"],
            str(one["instance_id"]),
            str(one["version_id"]),
            grouped(one["length"]),
            "" if one["certain"] else "the other capture is not whole",
        ]
        for one in report["only"]
    ]
    shown = (
        Column("in"),
        Column("name", flexible=True),
        Column("inst", right=True),
        Column("ver", right=True),
        Column("bytes", right=True),
        Column("note", optional=True),
    )
    if rows:
        yield from table(shown, rows)


def _section_lines(report: Document) -> Iterator[str]:
    for one in report["sections"]:
        versions = one["versions"]
        if not one["fields"] and versions["a"] == versions["b"]:
            continue
        yield cut(f"{_STEP}{harmless(one['name'])}/{one['instance_id']}", WIDTH)
        if versions["a"] != versions["b"]:
            yield f"{_STEP * 2}version {versions['a']} in A, {versions['b']} in B"
        if one["undecoded"] is not None:
            text = f"compared as bytes: {harmless(one['undecoded'])}"
            yield from wrapped(text, first=_STEP * 2, rest=_STEP * 2)
        if one["fields"]:
            yield from _field_table(one["fields"][:_MOST_FIELDS], f"{one['name']}/")
        more = len(one["fields"]) + one["fields_left_out"] - _MOST_FIELDS
        if more > 0:
            yield f"{_STEP * 2}and {plural(more, 'field')} more; --json tells of them"
        if one["facts"]:
            rows = [[fact["name"], _text(fact["a"]), _text(fact["b"])] for fact in one["facts"]]
            yield from _table(("by name", "A", "B"), rows[:_MOST_FIELDS])


def _field_table(fields: list[Document], section: str = "") -> Iterator[str]:
    """Yield a table of fields, whose paths are shown from the section's instance on."""
    start = len(section)
    rows = [_field_row(one) for one in fields]
    for row in rows:
        # `cpu/0/env.eip` stands below `cpu/0` as `env.eip`.
        _, slash, rest = row[0][start:].partition("/")
        row[0] = rest if section and slash else row[0]
    yield from _table(("field", "A", "B"), rows)


def _table(titles: tuple[str, ...], rows: list[list[str]]) -> Iterator[str]:
    shown = [Column(title, flexible=True) for title in titles]
    for line in table(shown, rows, width=WIDTH - len(_STEP)):
        yield _STEP + line


def _field_row(one: Document) -> list[str]:
    sides = [one["a"], one["b"]]
    if one["what"] == "bytes":
        texts = [_bytes_text(bytes.fromhex(side)) for side in sides]
        count = one["differing_length"]
        place = f"byte {one['first']}" + (f", {grouped(count)} differ" if count > 1 else "")
        return [f"{one['path']} ({place})", *texts]
    if one["what"] == "count":
        return [one["path"], *(plural(side, "element") for side in sides)]
    timer = one["type"] == TIMER
    return [
        one["path"],
        *(timer_text(side) if timer and side is not None else _text(side) for side in sides),
    ]


def _bytes_text(data: bytes) -> str:
    text = text_of_bytes(data)
    if text is not None:
        return f'"{text}"'
    more = f" {CUT_MARK}" if len(data) > _SHOWN_LEN else ""
    return (data[:_SHOWN_LEN].hex(" ") or "no byte") + more


def _text(value: Any) -> str:  # noqa: ANN401  # any JSON value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"0x{value:x}" if value >= _LARGE else number_text(value)
    return "-" if value is None else str(value)


def _ram_lines(report: Document) -> Iterator[str]:
    if report["ram_unknown"] is not None:
        yield from wrapped(harmless(report["ram_unknown"]), first=_STEP, rest=_STEP)
        return
    for one in report["blocks"]:
        a, b = one["lengths"]["a"], one["lengths"]["b"]
        notes = []
        if a is None or b is None:
            has, lacks = ("B", "A") if a is None else ("A", "B")
            note = f"in {has} alone" + ("" if one["certain"] else f", but {lacks} is not whole")
            notes.append(f"{note}; {full_size(a or b or 0)}")
        elif a != b:
            notes.append(f"{full_size(a)} in A, {full_size(b)} in B")
        notes += [
            _pages_text(one["pages"][state], state) for state in _STATES if one["pages"][state]
        ]
        if one["error"] is not None:
            notes.append(one["error"])
        if one["ignored"] or not notes:
            continue
        first = f"{_STEP}{cut(harmless(one['name']), WIDTH // 2)}: "
        yield from wrapped(harmless("; ".join(notes)), first=first, rest=_STEP * 2)
        yield from _range_lines(one)


def _pages_text(count: int, state: str) -> str:
    return (
        _that_differ(count, "page")
        if state == "differs"
        else (f"{plural(count, 'page')} {_STATES[state]}")
    )


def _range_lines(one: Document) -> Iterator[str]:
    for piece in one["ranges"][:_MOST_RANGES]:
        last = piece["addr"] + piece["length"] - 1
        count = -(-piece["length"] // one["page_size"])
        where = f"0x{piece['addr']:08x}-0x{last:08x}"
        yield f"{_STEP * 2}{where}  {_pages_text(count, piece['state'])}"
    more = len(one["ranges"]) + one["ranges_left_out"] - _MOST_RANGES
    if more > 0:
        yield f"{_STEP * 2}and {plural(more, 'range')} more; --json tells of them"


def _error_lines(report: Document) -> Iterator[str]:
    for letter in ("a", "b"):
        for error in report[letter]["errors"]:
            text = f"{letter.upper()}: {harmless(error['text'])}"
            yield from wrapped(text, first=_STEP, rest=_STEP * 2)
