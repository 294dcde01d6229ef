"""Tables in `docs/interop.md` that the tests make: a row for each test, between two markers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

DOCUMENT: Final = Path(__file__).resolve().parents[2] / "docs" / "interop.md"


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table.

    Attributes:
        name: in the markers.
        columns: the first one names the row.
        rows: names of the rows, in their order.
    """

    name: str
    columns: Sequence[str]
    rows: Sequence[str]

    @property
    def _markers(self) -> tuple[str, str]:
        return f"<!-- {self.name}: made by the tests -->\n", f"<!-- end of {self.name} -->\n"

    def read(self, document: Path = DOCUMENT) -> dict[str, Mapping[str, str]]:
        """Return the cells by row and column."""
        begin, end = self._markers
        lines = document.read_text().split(begin)[1].split(end)[0].splitlines()
        found = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line]
        if not found:
            return {}
        assert found[0] == list(self.columns), f"{document}: columns of {self.name}"
        return {row[0]: dict(zip(self.columns[1:], row[1:], strict=True)) for row in found[2:]}

    def write_row(self, row: str, cells: Mapping[str, str], document: Path = DOCUMENT) -> None:
        """Put a row in its place; rows of other names go."""
        begin, end = self._markers
        text = document.read_text()
        before, rest = text.split(begin)
        after = rest.split(end)[1]
        known = {**(self.read(document) if rest.split(end)[0].strip() else {}), row: cells}
        lines = [self._line(self.columns), self._line(["---"] * len(self.columns))]
        lines += [
            self._line([name, *(known[name][column] for column in self.columns[1:])])
            for name in self.rows
            if name in known
        ]
        document.write_text(before + begin + "".join(lines) + end + after)

    def require_row(self, row: str, cells: Mapping[str, str]) -> None:
        """Hold that the document says what the test found."""
        shown = self.read().get(row)
        assert shown == dict(cells), (
            f"{DOCUMENT.name} says {shown} of {row}; --update-golden writes what was found"
        )

    @staticmethod
    def _line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cells)} |\n"
