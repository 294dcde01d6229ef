"""The vmdescription of a stream: in its turn behind EOF, or found before, for what it knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qmig.capture.extent import FoundVmDescription, find_vmdescription
from qmig.capture.page_size import PageSize
from qmig.capture.records import Record
from qmig.errors import LimitExceededError, naming_cut
from qmig.faults import Fault
from qmig.limits import MAX_VMDESC_LEN
from qmig.wire.framing import VmDescriptionHead
from qmig.wire.gate import read_record
from qmig.wire.vmdesc import VmDescError, VmDescription, parse_vmdescription

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qmig.capture.source import Cursor, Source


class VmDescriptionReader:
    """Knows the vmdescription of one stream.

    Args:
        source: where the stream is.
        end: where a search ahead of its turn ends; None: at the end of the source.

    Attributes:
        description: what was read in its turn; None before that, and where there is none.
        error: why what stands there cannot be understood.
    """

    def __init__(self, source: Source, end: int | None = None) -> None:
        self.description: VmDescription | None = None
        self.error: str | None = None
        self._end = end
        self._source = source
        self._found: FoundVmDescription | None = None
        self._searched = False
        self._body_lens: dict[tuple[str, int], list[int | None]] = {}

    @property
    def page_size(self) -> PageSize | None:
        """The target page size that it tells."""
        known = self.known
        length = known.page_size_len if known else None
        return PageSize(length, "vmdescription") if length is not None else None

    def foreign_offset(self, own_offset: int | None) -> int | None:
        """Return where a description was found that stands elsewhere than the stream's own.

        A file or device that is written over can hold the end of an older stream.

        Args:
            own_offset: where the stream's own would stand; None where it was not reached.
        """
        if self._found is None or self._found.offset == own_offset:
            return None
        return self._found.offset

    @property
    def known(self) -> VmDescription | None:
        """What was read in its turn, or else found ahead of it."""
        return self.description or (self._found.description if self._found else None)

    @property
    def device_keys(self) -> frozenset[tuple[bytes, int]]:
        """Name, as it stands in a section's header, and instance of all devices, where known."""
        devices = self.known.devices if self.known else ()
        return frozenset(
            (device.name.encode("utf-8", "surrogateescape"), device.instance_id)
            for device in devices
        )

    @property
    def found_offset(self) -> int | None:
        """Where one was found ahead of its turn."""
        return self._found.offset if self._found else None

    def look_ahead(self, offset: int) -> None:
        """Search it behind `offset`, once, where the source can be read at any place."""
        if self._searched:
            return
        self._searched = True
        if not self._source.seekable:
            return
        self._found = find_vmdescription(self._source, offset, self._end)
        for device in self._found.description.devices if self._found else ():
            key = (device.name, device.instance_id)
            self._body_lens.setdefault(key, []).append(device.body_len)

    def next_body_len(self, idstr: str, instance_id: int) -> int | None:
        """Return the bytes that the next FULL section of a handler has by the description."""
        lengths = self._body_lens.get((idstr, instance_id))
        return lengths.pop(0) if lengths else None

    def read(self, cursor: Cursor) -> Iterator[Record]:
        """Yield its records, at the cursor behind EOF.

        Raises:
            StreamError: it is cut short, or longer than its limit.
        """
        with naming_cut(Fault.VMDESC_CUT):
            yield from self._records(cursor)

    def _records(self, cursor: Cursor) -> Iterator[Record]:
        start = cursor.offset
        head = read_record(cursor, VmDescriptionHead, what="vmdescription")
        if head.length > MAX_VMDESC_LEN:
            raise LimitExceededError(
                path=cursor.name,
                offset=start + 1,
                record="vmdescription",
                field="length",
                expected=f"at most {MAX_VMDESC_LEN}",
                found=str(head.length),
                fault=Fault.VMDESC_LEN,
            )
        yield Record(start, cursor.offset - start, "vmdescription", head)
        at = cursor.offset
        if self._found is not None and self._found.offset == start:
            cursor.skip(head.length, what="vmdescription", field="JSON")
            self.description = self._found.description
        else:
            text = cursor.read_exact(head.length, what="vmdescription", field="JSON")
            try:
                self.description = parse_vmdescription(text)
            except VmDescError as error:
                self.error = str(error)
        yield Record(at, head.length, "vmdescription JSON")
