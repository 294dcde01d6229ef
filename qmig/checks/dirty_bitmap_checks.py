"""What a `dirty-bitmap` section can say that no destination takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from qmig.capture.ram_record import text_of
from qmig.checks.check import Check, Context
from qmig.wire.live import BDRV_SECTOR_SIZE, DirtyBitmapBits, DirtyBitmapName, DirtyBitmapStart
from qmig.wire.record import field_table

if TYPE_CHECKING:
    from qmig.capture.container import Container
    from qmig.capture.records import Record
    from qmig.wire.record import WireRecord

_NODE: Final = "dirty-bitmap node name"
_BITMAP: Final = "dirty-bitmap bitmap name"
# migration/block-dirty-bitmap.c: DIRTY_BITMAP_MIG_START_FLAG_RESERVED_MASK
_RESERVED_FLAGS: Final = 0xF8
# util/hbitmap.c: hbitmap_serialization_align
_BITS_OF_A_CHUNK: Final = 64
_MOST_BITMAPS: Final = 4096  # whose granularity is kept


class DirtyBitmapCheck(Check):
    """Flags, granularity and places of dirty bitmaps."""

    RECORDS: ClassVar[frozenset[str]] = frozenset(
        {_NODE, _BITMAP, "dirty-bitmap start", "dirty-bitmap bits"}
    )

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._node = b""
        self._bitmap = b""
        self._granularity: dict[tuple[bytes, bytes], int] = {}

    def record(self, container: Container, record: Record) -> None:
        """Follow the names, which go on across chunks, and look at what is said of bitmaps."""
        wire = record.wire
        if isinstance(wire, DirtyBitmapName):
            if record.name == _NODE:
                self._node = wire.name
            else:
                self._bitmap = wire.name
        elif isinstance(wire, DirtyBitmapStart):
            self._started(container, record, wire)
        elif isinstance(wire, DirtyBitmapBits):
            self._bits(container, record, wire)

    def _started(self, container: Container, record: Record, wire: DirtyBitmapStart) -> None:
        size = wire.granularity
        if size < BDRV_SECTOR_SIZE or size.bit_count() != 1:
            expected = f"a power of two, {BDRV_SECTOR_SIZE} at least"
            self._wrong("QM421", container, record, wire, "granularity", expected)
        elif len(self._granularity) < _MOST_BITMAPS:
            self._granularity[self._node, self._bitmap] = size
        if wire.flags & _RESERVED_FLAGS:
            expected = "flags below 8"
            self._wrong("QM420", container, record, wire, "flags", expected, flags=wire.flags)

    def _bits(self, container: Container, record: Record, wire: DirtyBitmapBits) -> None:
        size = self._granularity.get((self._node, self._bitmap))
        if size is None:
            return
        step = max(1, size * _BITS_OF_A_CHUNK // BDRV_SECTOR_SIZE)
        if wire.start_sector % step:
            expected = f"a multiple of {step}, for {_BITS_OF_A_CHUNK} bits"
            self._wrong("QM422", container, record, wire, "start_sector", expected)

    def _wrong(
        self,
        rule_id: str,
        container: Container,
        record: Record,
        wire: WireRecord,
        field: str,
        expected: str,
        **values: int,
    ) -> None:
        at, length = field_table(type(wire))[field]
        self.context.report(
            rule_id,
            container,
            offset=record.offset + at,
            length=length,
            record=f"dirty bitmap {text_of(self._bitmap)!r} of {text_of(self._node)!r}",
            field=field,
            expected=expected,
            found=str(getattr(wire, field)),
            **values,
        )
