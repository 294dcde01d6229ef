"""What is missing: which ranges they are, how they are listed, and what millions of them cost."""

import json
import tracemalloc
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from qmig.export.extract import Extract, ExtractFormat
from qmig.export.manifest import manifest_pieces
from qmig.export.missing import Missing, MissingRanges

PAGE_LEN = 4096


class EveryOther:
    """A block whose pages with an odd index were not saved."""

    block = SimpleNamespace(name="pc.ram\udcff")

    def present(self, first: int, count: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
        flags = np.zeros(count, dtype=np.bool_)
        flags[first % 2 :: 2] = True
        return flags


def looked(first_page: int, pages: int, *, start: int = 0) -> MissingRanges:
    found = MissingRanges()
    view: Any = EveryOther()
    found.look(view, PAGE_LEN, first_page * PAGE_LEN + start, pages * PAGE_LEN - start)
    return found


def test_ranges_are_cut_to_what_was_asked_for() -> None:
    name = EveryOther.block.name
    assert list(looked(1, 4, start=100)) == [
        Missing(name, PAGE_LEN + 100, PAGE_LEN - 100),
        Missing(name, 3 * PAGE_LEN, PAGE_LEN),
    ]
    assert looked(1, 4, start=100).length == 2 * PAGE_LEN - 100


@pytest.mark.parametrize("pages", [1, 2, 4, 1998, 2000, 2002, 5000])
def test_manifest_lists_all_of_them_in_order(pages: int) -> None:
    extract = Extract(ExtractFormat.RAW, missing=looked(0, pages))
    text = b"".join(manifest_pieces(extract, PAGE_LEN)).decode()
    document = json.loads(text)
    assert text == json.dumps(document, indent=1) + "\n"
    assert document["missing"] == [
        {"block": "pc.ram\\xff", "block_addr": page * PAGE_LEN, "length": PAGE_LEN}
        for page in range(1, pages, 2)
    ]
    assert list(document["absent"]) == ["layout"]


def test_very_many_take_little_memory() -> None:
    pages = 200_000
    tracemalloc.start()
    try:
        extract = Extract(ExtractFormat.RAW, missing=looked(0, pages))
        for piece in manifest_pieces(extract, PAGE_LEN):
            assert len(piece) < 1 << 20
        peak_len = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_len < 60 * pages // 2 + (8 << 20)
