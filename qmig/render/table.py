"""Plain tables that fit a width: aligned columns, one of which gives way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from qmig.render.words import WIDTH, columns, cut, harmless, padded

if TYPE_CHECKING:
    from collections.abc import Sequence

INDENT: Final = "  "
_GAP: Final = "  "
_LEAST_FLEXIBLE: Final = 12
_MOST_LABEL: Final = 60  # columns; longer ones come from outside


class Column(NamedTuple):
    """One column of a table.

    Attributes:
        title: its heading.
        right: whether it is aligned to the right, as numbers are.
        flexible: whether its text is cut where the table would be too wide.
        optional: whether it is left out where all its cells are empty.
    """

    title: str
    right: bool = False
    flexible: bool = False
    optional: bool = False


def table(
    heading: Sequence[Column], rows: Sequence[Sequence[str]], *, width: int = WIDTH
) -> list[str]:
    """Return the lines of a table, its headings first.

    Args:
        heading: the columns.
        rows: the cells of each row.
        width: most columns that a line takes.
    """
    kept = [
        at
        for at, column in enumerate(heading)
        if not column.optional or any(row[at] not in ("", "0") for row in rows)
    ]
    heads = [heading[at] for at in kept]
    cells = [[harmless(row[at]) for at in kept] for row in rows]
    widths = [
        max(columns(head.title), *(columns(row[at]) for row in cells)) if cells else len(head.title)
        for at, head in enumerate(heads)
    ]
    _fit(heads, widths, width - len(INDENT) - len(_GAP) * (len(heads) - 1))
    lines = [_line([head.title for head in heads], heads, widths)]
    return lines + [_line(row, heads, widths) for row in cells]


def _fit(heads: list[Column], widths: list[int], room: int) -> None:
    """Make the flexible columns narrower, the widest first, until all fit."""
    flexible = [at for at, head in enumerate(heads) if head.flexible]
    while flexible and sum(widths) > room:
        widest = max(flexible, key=lambda at: widths[at])
        if widths[widest] <= _LEAST_FLEXIBLE:
            return
        widths[widest] -= 1


def _line(cells: Sequence[str], heads: list[Column], widths: list[int]) -> str:
    parts = [
        padded(cut(cell, width), width, right=head.right)
        for cell, head, width in zip(cells, heads, widths, strict=True)
    ]
    return (INDENT + _GAP.join(parts)).rstrip()


def pairs(rows: Sequence[tuple[str, str]], *, indent: str = INDENT) -> list[str]:
    """Return lines of a label and its text each; long text goes on below its beginning.

    A label that leaves too little room has a line of its own.
    """
    from qmig.render.words import wrapped

    lines: list[str] = []
    labels = [harmless(label) for label, _ in rows]
    label_len = max((n for n in map(columns, labels) if n <= _MOST_LABEL), default=0)
    for label, (_, text) in zip(labels, rows, strict=True):
        rest = " " * (len(indent) + label_len + len(_GAP))
        first = f"{indent}{padded(label, label_len, right=False)}{_GAP}"
        if columns(label) > _MOST_LABEL:
            lines.append(indent + cut(label, WIDTH - len(indent)))
            first = rest
        lines += wrapped(harmless(text), first=first, rest=rest)
    return lines
