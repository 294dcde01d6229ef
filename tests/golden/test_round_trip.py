"""What is parsed from a fixture and built again gives the bytes that stood there.

That holds for every record with a schema, unknown and reserved bits included: also for the words
and heads of page records, which a walk folds into runs, and for multifd packets under the field
names of every generation.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

import qmig
from qmig.capture.channel import Packet
from qmig.capture.container import Role
from qmig.capture.records import PageBatch, Record
from qmig.memory import PageKind
from qmig.wire.framing import (
    CapabilitiesHead,
    CapabilityName,
    CommandHead,
    ConfigurationRecord,
    ConfigurationUuid,
    EofRecord,
    FileHeader,
    FooterRecord,
    PackagedPayload,
    PartHead,
    PingPayload,
    PostcopyAdvisePayload,
    RamDiscardHead,
    RamDiscardRange,
    RecvBitmapPayload,
    SectionHead,
    SubsectionHead,
    TargetPageBits,
    VmDescriptionHead,
)
from qmig.wire.libvirt import LIBVIRT_SAVE_HEADER_SWAPPED, LibvirtSaveHeader
from qmig.wire.live import (
    BlockWord,
    DirtyBitmapBits,
    DirtyBitmapBuffer,
    DirtyBitmapName,
    DirtyBitmapStart,
    HtabChunk,
    HtabHead,
    StattribCount,
    StattribWord,
    VfioWord,
)
from qmig.wire.lzop import LzopBlockLen, LzopHead, LzopMode, LzopStoredLen
from qmig.wire.mapped_ram import MappedRamHeader
from qmig.wire.multifd import (
    MultifdDeviceState,
    MultifdInit,
    MultifdInit2018,
    MultifdPacket4,
    MultifdPacket7,
    MultifdPacket9,
    MultifdPacket2018,
    MultifdPacketHdr,
    VfioDeviceStatePacket,
)
from qmig.wire.ram import (
    CompressPageHead,
    FillByte,
    RamBlockAddr,
    RamBlockPageSize,
    RamBlockRecord,
    RamPageName,
    RamSaveFlag,
    RamWord,
    XbzrleHead,
)
from qmig.wire.record import WireRecord
from tests.conftest import CaptureFiles
from tests.corpus import FIXTURES, each_fixture, streams
from tests.oracle_channel import page_size_of
from tests.oracle_live import Data
from tests.unwrap import unwrap

V4_PACKETS: tuple[type[WireRecord], ...] = (MultifdPacket4, MultifdPacket7, MultifdPacket9)

# Records that occur in no stream of the fixtures. Each is built again in tests/wire alone.
IN_NO_FIXTURE: set[type[WireRecord]] = {StattribCount, DirtyBitmapBuffer}

# Every record of a stream that has a schema.
RECORDS: set[type[WireRecord]] = {
    *(FileHeader, ConfigurationRecord, SubsectionHead, TargetPageBits, CapabilitiesHead),
    *(CapabilityName, ConfigurationUuid, SectionHead, PartHead, FooterRecord, EofRecord),
    *(VmDescriptionHead, CommandHead, PingPayload, PostcopyAdvisePayload, PackagedPayload),
    *(RamDiscardHead, RamDiscardRange, RecvBitmapPayload),
    *(RamWord, RamBlockRecord, RamBlockPageSize, RamBlockAddr, MappedRamHeader),
    *(RamPageName, FillByte, XbzrleHead, CompressPageHead),
    *(DirtyBitmapName, DirtyBitmapStart, DirtyBitmapBits, DirtyBitmapBuffer),
    *(HtabHead, HtabChunk, StattribWord, StattribCount, BlockWord, VfioWord),
    *(MultifdInit, MultifdInit2018, MultifdPacket2018, MultifdPacket9, MultifdDeviceState),
}


def assert_same(kind: type[WireRecord], data: bytes, offset: int) -> None:
    """Parse bytes and build them again."""
    if (kind, data) not in _done:
        assert kind.parse(data).build() == data, f"{kind.__name__} at {offset:#x}"
        if len(data) < MOST_REMEMBERED_LEN:
            _done.add((kind, data))


MOST_REMEMBERED_LEN = 8  # fill bytes and heads, of which there are few different ones
_done: set[tuple[type[WireRecord], bytes]] = set()


def page_record_parts(
    data: Data, batch: PageBatch, page_mask: int
) -> Iterator[tuple[type[WireRecord], int, int]]:
    """Yield the schemas of one page record with the places of their bytes."""
    (run,) = batch.runs
    at = batch.offset
    yield RamWord, at, at + 8
    flags = int.from_bytes(data[at : at + 8], "big") & page_mask
    at += 8
    if not flags & RamSaveFlag.CONTINUE:
        end = at + 1 + data[at]
        yield RamPageName, at, end
        at = end
    if flags & RamSaveFlag.ZERO:
        yield FillByte, at, at + 1
    elif run.kind in (PageKind.XBZRLE, PageKind.COMPRESSED):
        yield (XbzrleHead if run.kind == PageKind.XBZRLE else CompressPageHead), at, run.data_offset
    assert run.data_offset + run.payload_len == batch.offset + batch.length


def assert_has_no_schema(item: Record | Packet) -> None:
    """Check that only what has no fields, or is a table of its own, comes without a schema."""
    if isinstance(item, Packet):
        return
    assert item.name in {
        *("section body", "not read", "vmdescription JSON", "padding", "trailing data"),
        *("mapped-ram bitmap", "mapped-ram gap", "mapped-ram pages", "rest of package"),
        *("multifd packet offsets", "multifd payload"),
        *("dirty-bitmap chunk", "dirty-bitmap bits"),  # its flags are one byte
        *("spapr/htab entries", "s390-storage_attributes bytes", "block data", "VFIO data"),
    }


@each_fixture
def test_every_record_is_built_again(name: str, capture_files: CaptureFiles) -> None:
    page_mask = page_size_of(FIXTURES[name].covers) - 1
    built = 0
    with qmig.open_capture(*capture_files(name)) as capture:
        for container, items in streams(capture, careful=True):
            data = unwrap(Path(container.path)).data
            for item in items:
                if isinstance(item, PageBatch):
                    for kind, start, end in page_record_parts(data, item, page_mask):
                        assert_same(kind, data[start:end], start)
                elif isinstance(item, Record) and item.wire is not None:
                    raw = data[item.offset : item.offset + item.length]
                    assert item.wire.build() == raw, f"{item}"
                    kinds = V4_PACKETS if isinstance(item.wire, V4_PACKETS) else (type(item.wire),)
                    for kind in kinds:
                        assert_same(kind, raw, item.offset)
                else:
                    assert_has_no_schema(item)
                built += 1
    assert built >= 7  # as many as a stream of a header, a block list and one bad word has


def kinds_in(name: str, files: list[Path]) -> set[type[WireRecord]]:
    """Return the kinds of record that a fixture has."""
    found: set[type[WireRecord]] = set()
    with qmig.open_capture(*files) as capture:
        for _, items in streams(capture):
            for item in items:
                if isinstance(item, Record) and item.wire is not None:
                    found.add(type(item.wire))
                elif isinstance(item, PageBatch):
                    found |= {
                        HEAD_OF_KIND[run.kind] for run in item.runs if run.kind in HEAD_OF_KIND
                    }
                    if item.runs[0].data_offset - item.offset > WORD_AND_HEAD_LEN:
                        found.add(RamPageName)
    return found


WORD_AND_HEAD_LEN = 12
HEAD_OF_KIND: dict[int, type[WireRecord]] = {
    PageKind.ZERO: FillByte,
    PageKind.XBZRLE: XbzrleHead,
    PageKind.COMPRESSED: CompressPageHead,
}


def test_every_kind_of_record_occurs(capture_files: CaptureFiles) -> None:
    found = set().union(*(kinds_in(name, capture_files(name)) for name in FIXTURES))
    assert found == RECORDS - IN_NO_FIXTURE


@pytest.mark.parametrize(
    "name", [n for n, f in FIXTURES.items() if any(x.role == "channel" for x in f.files)]
)
def test_packets_of_a_channel_begin_with_the_common_header(
    name: str, capture_files: CaptureFiles
) -> None:
    with qmig.open_capture(*capture_files(name)) as capture:
        for container, items in streams(capture):
            if container.role is not Role.CHANNEL:
                continue
            data = Path(container.path).read_bytes()
            packets = [item for item in items if isinstance(item, Packet)]
            assert packets
            for packet in packets:
                raw = data[packet.offset : packet.offset + 12]
                header = MultifdPacketHdr.parse(raw)
                assert header.build() == raw
                assert header.flags == packet.flags
                if packet.device_state:
                    payload = data[packet.payload_offset : packet.payload_offset + 12]
                    assert VfioDeviceStatePacket.parse(payload).build() == payload


@pytest.mark.parametrize("name", [n for n in FIXTURES if n.startswith("libvirt-12")])
def test_libvirt_header_is_built_again(name: str, capture_files: CaptureFiles) -> None:
    (path,) = capture_files(name)
    raw = path.read_bytes()[:92]
    assert LibvirtSaveHeader.parse(raw).build() == raw
    swapped = LIBVIRT_SAVE_HEADER_SWAPPED.parse(raw)
    assert swapped.build() == raw
    assert swapped.version == 2 << 24


def test_big_endian_libvirt_header_is_built_again(capture_files: CaptureFiles) -> None:
    (path,) = capture_files("handmade-libvirt-big-endian")
    raw = path.read_bytes()[:92]
    header = LIBVIRT_SAVE_HEADER_SWAPPED.parse(raw)
    assert header.build() == raw
    assert header.version == 2
    with qmig.open_capture(path) as capture:
        assert capture.main is not None
        assert capture.main.libvirt is not None
        assert capture.main.libvirt.header.build() == raw


def test_lzop_records_are_built_again(capture_files: CaptureFiles) -> None:
    (path,) = capture_files("libvirt-12-lzop")
    data = path.read_bytes()
    at = data.index(b"\x89LZO")
    head = LzopHead.parse(data[at:])
    assert head.build() == data[at : at + 21]
    at += 21
    mode = LzopMode.parse(data[at:])
    mode_len = 12 + 1 + len(mode.name) + 4
    assert mode.build() == data[at : at + mode_len]
    at += mode_len
    assert LzopBlockLen.parse(data[at:]).build() == data[at : at + 4]
    assert LzopStoredLen.parse(data[at + 4 :]).build() == data[at + 4 : at + 8]
