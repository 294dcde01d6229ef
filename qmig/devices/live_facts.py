"""What live sections other than `ram` hold: dirty bitmaps, s390 storage attributes, hash tables.

They come in parts, each framed by its own grammar (`qmig.capture.live_sections`), and no
description describes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from qmig.capture.records import Record
from qmig.limits import MIB
from qmig.wire.live import (
    BDRV_SECTOR_SIZE,
    HTAB_NONE,
    STATTR_FLAG_MASK,
    DirtyBitmapBits,
    DirtyBitmapFlag,
    DirtyBitmapName,
    DirtyBitmapStart,
    DirtyBitmapStartFlag,
    HtabChunk,
    HtabHead,
    StattribCount,
    StattribFlag,
    StattribWord,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qmig.capture.capture import Capture
    from qmig.capture.source import Source

Facts = dict[str, Any]

_PIECE_LEN: Final = MIB
LIVE_FACTS: Final = {
    "dirty-bitmap": "dirty_bitmaps",
    "s390-storage_attributes": "storage_attributes",
    "spapr/htab": "hash_table",
}
"""What is known of live sections is called, by the names of the sections."""


def live_facts(capture: Capture, sections: Iterable[str] = LIVE_FACTS) -> Facts:
    """Return what is known of the live sections of a capture; empty where it has none.

    The main stream is walked once more where it has any.

    Args:
        capture: the capture.
        sections: those that are asked for, by name.

    Returns:
        `dirty_bitmaps`: one object for each bitmap of a node; `storage_attributes`: ranges of
        guest-physical addresses; `hash_table`: its size and what was sent of it.
    """
    rows = capture.stream.sections.rows
    if not any(row.idstr in LIVE_FACTS for row in rows):
        return {}
    bitmaps, attributes, table = _Bitmaps(capture.stream.source), _Attributes(), _HashTable()
    for item in capture.records():
        if isinstance(item, Record):
            for part in (bitmaps, attributes, table):
                part.add(item)
    found = {
        "dirty_bitmaps": list(bitmaps.known.values()),
        "storage_attributes": attributes.facts,
        "hash_table": table.facts,
    }
    wanted = {LIVE_FACTS[section] for section in sections}
    return {name: facts for name, facts in found.items() if facts and name in wanted}


class _Bitmaps:
    """Bitmaps as their chunks name them; a chunk without a name goes on with the one before."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.known: dict[tuple[str, str], Facts] = {}
        self._node = self._bitmap = ""

    def add(self, record: Record) -> None:
        wire = record.wire
        if isinstance(wire, DirtyBitmapName):
            name = wire.name.decode("utf-8", "surrogateescape")
            if record.name.endswith("node name"):
                self._node = name
            else:
                self._bitmap = name
        elif isinstance(wire, DirtyBitmapStart):
            self._bitmap_facts().update(
                granularity_len=wire.granularity,
                enabled=bool(wire.flags & DirtyBitmapStartFlag.ENABLED),
                persistent=bool(wire.flags & DirtyBitmapStartFlag.PERSISTENT),
            )
        elif isinstance(wire, DirtyBitmapBits):
            facts = self._bitmap_facts()
            end = (wire.start_sector + wire.nr_sectors) * BDRV_SECTOR_SIZE
            facts["sent_len"] += wire.nr_sectors * BDRV_SECTOR_SIZE
            facts["end_addr"] = max(facts["end_addr"], end)
        elif record.name == "dirty-bitmap bits" and wire is None:
            facts = self._bitmap_facts()
            facts["dirty_len"] += self._set_bits(record) * facts.get("granularity_len", 0)
        elif record.name == "dirty-bitmap chunk":
            flags = str(record.detail.get("flags", ""))
            if DirtyBitmapFlag.COMPLETE.name in flags.split("|"):
                self._bitmap_facts()["complete"] = True

    def _set_bits(self, record: Record) -> int:
        """Count bits: each stands for `granularity_len` bytes (util/hbitmap.c, serialize_part)."""
        end = record.offset + record.length
        pieces = range(record.offset, end, _PIECE_LEN)
        read = self._source.read_at
        return sum(
            int.from_bytes(read(at, min(_PIECE_LEN, end - at)), "little").bit_count()
            for at in pieces
        )

    def _bitmap_facts(self) -> Facts:
        key = (self._node, self._bitmap)
        if key not in self.known:
            self.known[key] = {
                "node": self._node,
                "name": self._bitmap,
                "dirty_len": 0,
                "sent_len": 0,
                "end_addr": 0,
                "complete": False,
            }
        return self.known[key]


class _Attributes:
    """Runs of storage attributes, one byte for each page of the guest."""

    def __init__(self) -> None:
        self.facts: list[Facts] = []
        self._addr: int | None = None

    def add(self, record: Record) -> None:
        wire = record.wire
        if isinstance(wire, StattribWord):
            more = wire.word & STATTR_FLAG_MASK == StattribFlag.MORE
            self._addr = wire.word & ~STATTR_FLAG_MASK if more else None
        elif isinstance(wire, StattribCount) and self._addr is not None:
            self.facts.append({"addr": self._addr, "pages": wire.count})


class _HashTable:
    """The hash table of a POWER guest."""

    def __init__(self) -> None:
        self.facts: Facts = {}
        self._begun = False

    def add(self, record: Record) -> None:
        wire = record.wire
        if isinstance(wire, HtabHead) and not self._begun:
            self._begun = True
            if wire.section_hdr == HTAB_NONE:
                self.facts = {"present": False}
            elif wire.section_hdr < 64:
                self.facts = {
                    "present": True,
                    "table_len": 1 << wire.section_hdr,
                    "valid_entries_sent": 0,
                    "invalid_entries_sent": 0,
                }
        elif isinstance(wire, HtabChunk) and "valid_entries_sent" in self.facts:
            self.facts["valid_entries_sent"] += wire.n_valid
            self.facts["invalid_entries_sent"] += wire.n_invalid
