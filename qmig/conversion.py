"""From a capture to what a migrator needs: its RAM as a guest, the rest as a skeleton.

The one place that knows both reading (`qmig.capture`) and writing (`qmig.migrate`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qmig.capture.records import PageBatch, Record
from qmig.capture.sections import is_salvaged
from qmig.errors import UnsupportedStreamError
from qmig.limits import MIB
from qmig.migrate.skeleton import Carried, Element, RamEnd, RamPart, RamStart, Skeleton
from qmig.wire.framing import CommandHead, PartHead, QemuVmSection, SectionHead, VmDescriptionHead
from qmig.wire.ram import RamSaveFlag
from qmig.wire.record import fixed_len

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from qmig.capture.capture import Capture
    from qmig.capture.source import Source

# What a file can carry of the commands; the others belong to a live connection. An ADVISE without
# payload comes with dirty bitmaps alone, and is loaded from files.
CARRIED_COMMANDS: Final = ("SWITCHOVER_START",)


class _Range:
    """Bytes of one element, from its first record to its last."""

    def __init__(self, offset: int) -> None:
        self.offset = offset
        self.end = offset


class _Builder:
    """Cuts the records of a stream into elements."""

    def __init__(self, source: Source) -> None:
        self.elements: list[Element] = []
        self.ram_section_id: int | None = None
        self._source = source
        self._kind = ""  # of the element that is being read: a word of `_finish`
        self._what = ""
        self._range = _Range(0)
        self._pages = 0
        self._rounds = 0

    def add(self, item: Record | PageBatch) -> None:
        """Take the next record."""
        if isinstance(item, PageBatch):
            self._pages += sum(run.count for run in item.runs)
        elif item.name in ("section header", "command", "EOF", "rest of package"):
            self.finish()
            self._begin(item)
        elif item.name == "RAM word" and item.wire is not None:
            word = item.wire.as_dict()["word"]
            self._rounds += word == RamSaveFlag.MULTIFD_FLUSH
        self._range.end = item.offset + item.length

    def _begin(self, item: Record) -> None:
        self._range = _Range(item.offset)
        self._pages = self._rounds = 0
        self._kind = "drop"
        if item.name == "command":
            bitmaps_only = (
                item.detail["command"] == "POSTCOPY_ADVISE"
                and isinstance(item.wire, CommandHead)
                and item.wire.len == 0
            )
            if item.detail["command"] in CARRIED_COMMANDS or bitmaps_only:
                self._kind, self._what = "carry", f"command {item.detail['command']}"
        elif isinstance(item.wire, SectionHead):
            self._begin_opened(item.wire)
        elif isinstance(item.wire, PartHead):
            self._begin_continued(item.wire)

    def _begin_opened(self, head: SectionHead) -> None:
        if head.idstr == b"ram" and head.type == QemuVmSection.SECTION_START:
            self.ram_section_id = head.section_id
            self._kind = "ram start"
        else:
            self._kind = "carry"
            self._what = f"section {head.idstr.decode('utf-8', 'backslashreplace')!r}"

    def _begin_continued(self, head: PartHead) -> None:
        end = head.type == QemuVmSection.SECTION_END
        if head.section_id != self.ram_section_id:
            self._kind, self._what = "carry", f"section {head.section_id}"
        else:
            self._kind = "ram end" if end else "ram part"

    def finish(self) -> None:
        """Add the element that ends here."""
        if self._kind == "carry":
            chunks = chunks_of(self._source, self._range.offset, self._range.end)
            self.elements.append(Carried(self._what, chunks))
        elif self._kind == "ram start":
            self.elements.append(RamStart())
        elif self._kind == "ram part":
            self.elements.append(RamPart(self._pages, self._rounds))
        elif self._kind == "ram end":
            self.elements.append(RamEnd())
        self._kind = ""


def chunks_of(source: Source, offset: int, end: int) -> Callable[[], Iterable[bytes]]:
    """Return a call that gives the bytes [offset, end) of a source, in bounded pieces."""

    def read() -> Iterator[bytes]:
        at = offset
        while at < end:
            data = source.read_at(at, min(MIB, end - at))
            if not data:
                return
            yield data
            at += len(data)

    return read


def skeleton_of(capture: Capture) -> Skeleton:
    """Return what stands around the RAM of a capture.

    Sections, configuration and vmdescription are carried over as they are; of the commands those
    that belong to a live connection are left out, and the sections of a postcopy package are
    taken out of it.

    Args:
        capture: a whole capture with a main stream.

    Raises:
        StreamError: the capture is damaged.
        SourceError: it has no main stream, or comes from a pipe.
        UnsupportedStreamError: it has no RAM, or ends before its devices.
    """
    for error in capture.errors:
        raise error
    capture.make_seekable()
    walk, items = capture.walk_again()
    builder = _Builder(walk.source)
    for item in items:
        if isinstance(item, Record) and item.name in ("vmdescription", "padding", "trailing data"):
            break
        builder.add(item)
    builder.finish()
    if builder.ram_section_id is None:
        raise UnsupportedStreamError(
            path=capture.files[0].path,
            offset=walk.end_offset,
            record="stream",
            expected="a section of RAM",
            found="none",
        )
    if is_salvaged(walk):
        raise UnsupportedStreamError(
            path=capture.files[0].path,
            offset=walk.start_offset,
            record="stream",
            expected="a guest that is whole",
            found="what qmig salvage found of one",
            hint="its pages that are missing would be zeros, and no QEMU would load it",
        )
    configuration = walk.configuration
    stream = capture.stream
    return Skeleton(
        machine=configuration.machine if configuration else None,
        target_page_bits=configuration.target_page_bits if configuration else None,
        capabilities=configuration.capabilities if configuration else None,
        uuid=configuration.uuid if configuration else None,
        channel_uuid=_channel_uuid(capture),
        footers=bool(stream.footers),
        ram_section_id=builder.ram_section_id,
        elements=_in_order(builder.elements),
        vmdescription=_vmdescription(capture),
        origin=capture.files[0].path,
    )


def _channel_uuid(capture: Capture) -> bytes:
    configuration = capture.stream.configuration
    found = [channel.walk.uuid for channel in capture.channels]
    uuid = found[0] if found else configuration.uuid if configuration else None
    return uuid.bytes if uuid else bytes(16)


def _vmdescription(capture: Capture) -> bytes | None:
    walk = capture.stream
    if walk.vmdescription is None or walk.eof_offset is None:
        return None
    source = capture.new_walk().source
    head = source.read_at(walk.eof_offset + 1, fixed_len(VmDescriptionHead))
    length = VmDescriptionHead.parse(head).length
    return source.read_at(walk.eof_offset + 1 + len(head), length)


def _in_order(elements: list[Element]) -> list[Element]:
    """Put what a save to a file has in its order: RAM before the devices that a package had.

    A background snapshot has no END section of `ram`, and a postcopy migration sends its devices
    before the rest of the RAM.
    """
    ram = [at for at, e in enumerate(elements) if isinstance(e, RamStart | RamPart | RamEnd)]
    first, last = ram[0], ram[-1]
    between = [e for e in elements[first:last] if isinstance(e, Carried)]
    moved = [e for e in between if _is_late_device(elements, e, first)]
    kept = [e for e in elements[: last + 1] if e not in moved]
    if not any(isinstance(e, RamPart) for e in kept):
        kept.insert(kept.index(elements[first]) + 1, RamPart(0, 0))
    if not isinstance(elements[last], RamEnd):
        kept.append(RamEnd())
    return [*kept, *moved, *elements[last + 1 :]]


def _is_late_device(elements: list[Element], element: Carried, first: int) -> bool:
    """Tell a device of a package from one that is sent early, before the first page."""
    if element.what.startswith("command") or not element.what.startswith("section '"):
        return False
    before = elements[first : elements.index(element)]
    return any(isinstance(e, RamPart) for e in before)
