"""Live sections that describe themselves are compared by what they come to in the end."""

from pathlib import Path
from typing import Final

import pytest

from qmig.comparison import live_content
from tests.builders import framing
from tests.builders.handlers import htab_part, storage_attributes
from tests.builders.primitives import be32
from tests.diff.test_comparison import two


def live(name: str, start: bytes, *parts: bytes) -> bytes:
    """Return a stream with one live section, in parts."""
    return (
        framing.file_header()
        + framing.configuration("pseries-10.0")
        + framing.section_start(3, name, start, version_id=1)
        + b"".join(framing.section_part(3, part) for part in parts[:-1])
        + framing.section_end(3, parts[-1])
        + framing.end_of_file()
    )


ONE, TWO = b"\x80" + bytes(15), b"\x81" + bytes(15)
TABLE = live("spapr/htab", be32(18), htab_part([(5, ONE + TWO, 0), (300, ONE, 0)]))
IN_THE_END_THE_SAME: Final = {
    "parts": ([(300, ONE, 0)], [(5, ONE, 0), (6, TWO, 0)]),
    "replaced": ([(5, TWO + TWO, 0), (300, ONE, 0)], [(5, ONE, 0)]),
    "made invalid": (
        [(4, ONE + ONE + TWO + TWO, 0), (300, ONE, 0)],
        [(4, b"", 1), (5, ONE, 0), (7, b"", 600), (300, ONE, 0)],
    ),
    "empty parts": ([], [(5, ONE + TWO, 9), (300, ONE, 70)], []),
}
OTHERS: Final = {
    "one entry less": [(5, ONE + TWO, 0)],
    "one made invalid": [(5, ONE + TWO, 0), (300, ONE, 0), (6, b"", 1)],
    "another entry": [(5, ONE + ONE, 0), (300, ONE, 0)],
    "another place": [(5, ONE + TWO, 0), (301, ONE, 0)],
}


@pytest.mark.parametrize("how", IN_THE_END_THE_SAME)
def test_a_hash_table_is_what_it_comes_to(how: str, tmp_path: Path) -> None:
    parts = [htab_part(chunks) for chunks in IN_THE_END_THE_SAME[how]]
    other = live("spapr/htab", be32(18), *parts)
    assert other != TABLE
    assert two(tmp_path, TABLE, other).sections == []


@pytest.mark.parametrize("how", OTHERS)
def test_another_hash_table_differs(how: str, tmp_path: Path) -> None:
    other = live("spapr/htab", be32(18), htab_part(OTHERS[how]))
    (section,) = two(tmp_path, TABLE, other).sections
    assert section.path == "spapr/htab/0"
    (larger,) = two(tmp_path, TABLE, TABLE.replace(be32(18), be32(19))).sections
    assert larger.path == "spapr/htab/0"


def test_storage_attributes_are_what_they_come_to(tmp_path: Path) -> None:
    name = "s390-storage_attributes"
    one = live(name, storage_attributes([(0x1000, b"\5\6")]), storage_attributes([], done=True))
    other = live(
        name,
        storage_attributes([(0x2000, b"\6")]),
        storage_attributes([(0x1000, b"\1")]),
        storage_attributes([(0x1000, b"\5"), (0x3000, b"\0")], done=True),
    )
    assert two(tmp_path, one, other).sections == []
    different = live(name, storage_attributes([(0x1000, b"\5\7")]), storage_attributes([]))
    assert [section.path for section in two(tmp_path, one, different).sections] == [f"{name}/0"]


@pytest.mark.parametrize("limit", ["MAX_LIVE_CONTENT_BLOCKS", "MAX_LIVE_CONTENT_STEPS"])
def test_what_is_too_large_is_compared_as_it_was_sent(
    limit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_content, limit, 1)
    parts = [htab_part(chunks) for chunks in IN_THE_END_THE_SAME["parts"]]
    other = live("spapr/htab", be32(18), *parts)
    (section,) = two(tmp_path, TABLE, other).sections
    assert section.path == "spapr/htab/0"
    assert two(tmp_path, TABLE, TABLE).sections == []
