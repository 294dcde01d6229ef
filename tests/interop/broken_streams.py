"""Broken streams for the machine `none`, each wrong in one place, and what a real QEMU does to it.

What a QEMU does is asked of it, not written down here: a case says what is changed in a stream that
loads. `none` has one RAM block and two devices, so that a stream made from nothing is whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from tests.builders import commands, framing, mapped_ram, multifd, ram, vmdesc, xbzrle
from tests.builders.generations import build_set
from tests.builders.guest import Guest
from tests.builders.machine import MainStream, around_mapped_ram
from tests.builders.migration import Workload
from tests.builders.multifd import Packet
from tests.builders.real_destination import BLOCK
from tests.builders.walk_multifd import Channel, read_channel

BLOCK_LEN: Final = 4 << 20
PAGE_LEN: Final = 4096
RAM_ID: Final = 1
PAGE: Final = bytes(range(256)) * 16
CHANNELS: Final = 2


@dataclass(frozen=True)
class Capture:
    """Files, and how a destination is made ready for them.

    Attributes:
        main: the main stream.
        channels: of multifd, in the order of their ids.
        capabilities: that the destination sets.
        parameters: that it sets.
        arguments: its command line; None: that of the machine `none`.
        by_socket: whether a stream without channels comes over a socket: releases before 8.2 read
            no files.
    """

    main: bytes
    channels: tuple[bytes, ...] = ()
    capabilities: Mapping[str, bool] = field(default_factory=dict)
    parameters: Mapping[str, int | str | bool] = field(default_factory=dict)
    arguments: Sequence[str] | None = None
    by_socket: bool = False


# -- an ordinary stream, part by part -------------------------------------------------------------

_ENTRY: Final = ram.BlockEntry(BLOCK, BLOCK_LEN)
_PAGES: Final = ram.page(0, PAGE, BLOCK) + ram.zero(PAGE_LEN) + ram.page(2 * PAGE_LEN, PAGE)
_STATE: Final = framing.globalstate_body("paused")
_TIMER: Final = framing.timer_body()


def stream(
    *,
    header: bytes = framing.file_header(),
    configuration: bytes = framing.configuration("none"),
    before: bytes = b"",
    block_list: bytes = ram.block_list([_ENTRY]),
    start: bytes | None = None,
    records: bytes = _PAGES,
    part: bytes | None = None,
    between: bytes = b"",
    end: bytes = framing.section_end(RAM_ID, ram.eos()),
    timer: bytes = framing.section_full(0, "timer", _TIMER, version_id=2),
    state: bytes = framing.section_full(16, "globalstate", _STATE),
    after: bytes = b"",
    eof: bytes = framing.end_of_file(),
    description: bytes | None = None,
    capabilities: Mapping[str, bool] | None = None,
) -> Capture:
    """Build a stream of these parts, each of which is sound unless it is given."""
    started = framing.section_start(RAM_ID, "ram", block_list) if start is None else start
    went_on = framing.section_part(RAM_ID, records + ram.eos()) if part is None else part
    described = _description() if description is None else description
    return Capture(
        header + configuration + before + started + went_on + between + end + timer + state
        + after + eof + described,
        capabilities=capabilities or {},
    )  # fmt: skip


def _description() -> bytes:
    main = MainStream("10.0", "none")
    main.standard_devices()
    return vmdesc.vmdescription(main.description())


def _records(*records: bytes) -> Callable[[], Capture]:
    return lambda: stream(records=b"".join(records))


def _xbzrle(body: bytes, **wrong: Any) -> Callable[[], Capture]:  # noqa: ANN401  # int fields
    record = ram.xbzrle(0, body, **wrong)
    return lambda: stream(records=_PAGES + record, capabilities={"xbzrle": True})


def _command(*what: bytes) -> Callable[[], Capture]:
    return lambda: stream(before=b"".join(what))


def _cut(less: int) -> Callable[[], Capture]:
    return lambda: Capture(stream().main[:-less])


def _cut_in_ram() -> Capture:
    whole = stream().main
    return Capture(whole[: whole.index(PAGE) + 100])


def _cut_before_eof() -> Capture:
    return stream(eof=b"", description=b"")


_BODY: Final = xbzrle.encode(PAGE, b"new!" + PAGE[4:])

STREAMS: Final[Mapping[str, Callable[[], Capture]]] = {
    "sound": stream,
    "magic": lambda: stream(header=framing.file_header(magic=0x5145564E)),
    "version 2": lambda: stream(header=framing.file_header(version=2)),
    "version 4": lambda: stream(header=framing.file_header(version=4)),
    "no configuration": lambda: stream(configuration=b""),
    "type of the configuration damaged": lambda: stream(
        configuration=b"\x17" + framing.configuration("none")[1:]
    ),
    "type of the configuration damaged to that of EOF": lambda: stream(
        configuration=b"\0" + framing.configuration("none")[1:]
    ),
    "no name of a machine": lambda: stream(configuration=framing.configuration("")),
    "beginning of the machine's name": lambda: stream(configuration=framing.configuration("no")),
    "control character in the machine's name": lambda: stream(
        configuration=framing.configuration("non\x07")
    ),
    "unknown capability": lambda: stream(
        configuration=framing.configuration("none", [framing.capabilities(["warp-drive"])])
    ),
    "capability mapped-ram that it is not": lambda: stream(
        configuration=framing.configuration("none", [framing.capabilities(["mapped-ram"])])
    ),
    "unknown subsection of the configuration": lambda: stream(
        configuration=framing.configuration("none", [framing.subsection("configuration/x", b"")])
    ),
    "version 9 of a configuration subsection": lambda: stream(
        configuration=framing.configuration("none", [framing.capabilities([], version=9)])
    ),
    "element type 9": lambda: stream(between=b"\x09" + bytes(16)),
    "element type 5": lambda: stream(between=b"\x05" + bytes(16)),
    "PART of a section that was not opened": lambda: stream(
        between=framing.section_part(77, ram.eos())
    ),
    "ram version 5": lambda: stream(
        start=framing.section_start(RAM_ID, "ram", ram.block_list([_ENTRY]), version_id=5)
    ),
    "ram version 3": lambda: stream(
        start=framing.section_start(RAM_ID, "ram", ram.block_list([_ENTRY]), version_id=3)
    ),
    "footer missing": lambda: stream(
        timer=framing.section_full(0, "timer", _TIMER, version_id=2, footer=b"")
    ),
    "footer of another section": lambda: stream(
        timer=framing.section_full(
            0, "timer", _TIMER, version_id=2, footer=framing.section_footer(3)
        )
    ),
    "footer's mark damaged": lambda: stream(
        timer=framing.section_full(
            0, "timer", _TIMER, version_id=2, footer=b"\x7a" + framing.section_footer(0)[1:]
        )
    ),
    "section id of the section behind": lambda: stream(
        timer=framing.section_full(
            16, "timer", _TIMER, version_id=2, footer=framing.section_footer(0)
        )
    ),
    "footer of ram's part missing": lambda: stream(
        part=framing.section_part(RAM_ID, _PAGES + ram.eos(), footer=b"")
    ),
    "device body too long": lambda: stream(
        timer=framing.section_full(0, "timer", _TIMER + bytes(3), version_id=2)
    ),
    "device twice": lambda: stream(after=framing.section_full(17, "globalstate", _STATE)),
    "PART behind END": lambda: stream(after=framing.section_part(RAM_ID, ram.eos())),
    "EOF for the type of a PART section": lambda: stream(
        part=b"\0" + framing.section_part(RAM_ID, _PAGES + ram.eos())[1:]
    ),
    "EOF for the type of a FULL section": lambda: stream(
        state=b"\0" + framing.section_full(16, "globalstate", _STATE)[1:]
    ),
    "EOF missing": _cut_before_eof,
    "cut inside RAM": _cut_in_ram,
    "vmdescription cut": _cut(20),
    "vmdescription missing": lambda: stream(description=b""),
    "bytes behind the end": lambda: stream(description=_description() + b"left over"),
    "vmdescription is no JSON": lambda: stream(description=b"\x06\0\0\0\x04{,,}"),
    "unknown command": _command(commands.command(99)),
    "command 0": _command(commands.command(0)),
    "PING too short": _command(commands.open_return_path(), commands.command(2, b"\0\0")),
    "PING without a return path": _command(commands.ping(1)),
    "ADVISE of 7 bytes": _command(commands.command(3, bytes(7))),
    "LISTEN without ADVISE": _command(commands.postcopy_listen()),
    "RUN without LISTEN": _command(commands.postcopy_run()),
    "DISCARD without ADVISE": _command(
        commands.postcopy_ram_discard(BLOCK, [(0, PAGE_LEN)])
    ),
    "package longer than the data": lambda: stream(
        after=commands.packaged(bytes(4), length=1 << 20), description=b""
    ),
    "RECV_BITMAP of an unknown block": _command(
        commands.open_return_path(), commands.recv_bitmap("other")
    ),
    "RESUME": _command(commands.postcopy_resume()),
    "total that is not the sum": lambda: stream(
        block_list=ram.block_list([_ENTRY], total=BLOCK_LEN + PAGE_LEN)
    ),
    "block of no length in the list": lambda: stream(
        block_list=ram.block_list([_ENTRY], total=0)
    ),
    "no MEM_SIZE": lambda: stream(block_list=ram.eos()),
    "no flag": _records(ram.word(0, 0) + bytes(8)),
    "flag 0x400": _records(_PAGES, ram.word(0, 0x400)),
    "flag FULL": _records(_PAGES, ram.word(0, ram.FULL)),
    "PAGE and ZERO": _records(ram.record(0, ram.PAGE | ram.ZERO, BLOCK, PAGE)),
    "XBZRLE and PAGE": _records(_PAGES, ram.record(0, ram.XBZRLE | ram.PAGE, BLOCK, PAGE)),
    "COMPRESS_PAGE": _records(ram.compress_page(0, PAGE, BLOCK)),
    "CONTINUE with nothing to continue": _records(ram.page(0, PAGE)),
    "page of an unknown block": _records(ram.page(0, PAGE, "other")),
    "page outside its block": _records(ram.page(BLOCK_LEN, PAGE, BLOCK)),
    "zero page far outside": _records(ram.zero(1 << 40, BLOCK)),
    "fill byte": _records(ram.zero(0, BLOCK, fill=0xA5)),
    "XBZRLE flag 2": _xbzrle(_BODY, encoding=2),
    "XBZRLE longer than a page": _xbzrle(bytes(5000), length=5000),
    "XBZRLE run that overflows": _xbzrle(
        xbzrle.uleb128(4090) + xbzrle.uleb128(20) + bytes(20)
    ),
    "XBZRLE that ends inside a run": _xbzrle(xbzrle.uleb128(0) + xbzrle.uleb128(20) + b"x"),
    "XBZRLE zero length run of changes": _xbzrle(xbzrle.uleb128(1) + xbzrle.uleb128(0)),
    "XBZRLE without a body": _xbzrle(b""),
    "EOS missing in a PART": lambda: stream(part=framing.section_part(RAM_ID, _PAGES)),
    "EOS with an offset": lambda: stream(
        part=framing.section_part(RAM_ID, _PAGES + ram.eos(7 * PAGE_LEN))
    ),
    "MULTIFD_FLUSH without multifd": _records(_PAGES, ram.multifd_flush()),
    "HOOK": _records(_PAGES, ram.hook()),
}  # fmt: skip


# -- mapped-ram -----------------------------------------------------------------------------------


def mapped(
    *,
    tail: bytes | None = None,
    records: bytes = b"",
    cut_to: Callable[[int], int] = lambda length: length,
    patch: Callable[[bytearray], None] = lambda _data: None,
    **block: Any,  # noqa: ANN401  # fields of MappedBlock
) -> Capture:
    """Build a mapped-ram file with two pages."""
    head, rest = around_mapped_ram(part=records + ram.eos())
    pages = {"pages": {0: PAGE, 5: PAGE}, **block}
    entry = mapped_ram.MappedBlock(BLOCK, BLOCK_LEN, **pages)
    data = bytearray(mapped_ram.capture_bytes(head, [entry], rest, tail=tail))
    patch(data)
    return Capture(bytes(data[: cut_to(len(data))]), capabilities={"mapped-ram": True})


MAPPED: Final[Mapping[str, Callable[[], Capture]]] = {
    "mapped-ram: sound": mapped,
    "mapped-ram: version 2": lambda: mapped(version=2),
    "mapped-ram: version 0": lambda: mapped(version=0),
    "mapped-ram: page size 0": lambda: mapped(page_size=0),
    "mapped-ram: page size 8192": lambda: mapped(page_size=8192),
    "mapped-ram: pages_offset not aligned to a page": lambda: mapped(pages_offset=0x100010),
    "mapped-ram: bitmap_offset behind the file": lambda: mapped(bitmap_offset=1 << 40),
    "mapped-ram: pages_offset behind the file": lambda: mapped(pages_offset=1 << 40),
    "mapped-ram: cut inside the pages": lambda: mapped(cut_to=lambda _length: 0x102000),
    "mapped-ram: cut inside the bitmap": lambda: mapped(cut_to=lambda _length: 200),
    "mapped-ram: PAGE record": lambda: mapped(records=ram.page(0, PAGE, BLOCK)),
    "mapped-ram: MULTIFD_FLUSH": lambda: mapped(records=ram.multifd_flush()),
    "mapped-ram: data under a clear bit": lambda: mapped(
        pages={0: PAGE, 5: PAGE}, set_pages=frozenset({0})
    ),
}


# -- multifd --------------------------------------------------------------------------------------


def _workload() -> Workload:
    def boot(running: Guest) -> None:
        running.stamp(BLOCK, (index for index in range(1024) if index % 3))

    def work(running: Guest) -> None:
        running.stamp(BLOCK, range(5, 700, 2), 1)

    return Workload(Guest({BLOCK: BLOCK_LEN}), [boot, work], 400)


def multifd_set(
    change: Callable[[list[Channel]], None] = lambda _channels: None,
    *,
    generation: str = "10.0",
    change_bytes: Callable[[list[bytes]], None] = lambda _files: None,
) -> Capture:
    """Build a set of two channels and change its packets."""
    whole = build_set(generation, workload=_workload(), machine="none", channels=CHANNELS)
    channels = [read_channel(data) for data in whole.channels]
    change(channels)
    files = [channel.build() for channel in channels]
    change_bytes(files)
    return Capture(whole.main, tuple(files), {"multifd": True})


def _first(pages: bool) -> Callable[[Channel], int]:
    def find(channel: Channel) -> int:
        return next(
            at
            for at, packet in enumerate(channel.packets)
            if isinstance(packet, Packet) and (packet.normal > 0) is pages
        )

    return find


def _changed(**fields: Any) -> Callable[[], Capture]:  # noqa: ANN401  # fields of Packet
    def change(channels: list[Channel]) -> None:
        at = _first(pages=True)(channels[0])
        packet = channels[0].packets[at]
        assert isinstance(packet, Packet)
        channels[0].packets[at] = replace(packet, **fields)

    return lambda: multifd_set(change)


def _without_sync(channels: list[Channel]) -> None:
    del channels[1].packets[_last_sync(channels[1])]


def _last_sync(channel: Channel) -> int:
    return max(
        at
        for at, packet in enumerate(channel.packets)
        if isinstance(packet, Packet) and packet.flags & multifd.SYNC
    )


def _one_sync_more(channels: list[Channel]) -> None:
    for channel in channels:
        channel.packets.append(Packet(multifd.SYNC, 0, packet_num=500, array_len=128))


def _offsets(*offsets: int) -> Callable[[], Capture]:
    return _changed(
        normal=len(offsets),
        next_packet_size=len(offsets) * PAGE_LEN,
        offsets=offsets,
        array_len=128,
        payload=PAGE * len(offsets),
    )


def _patched(at: int, value: bytes, *, channel: int = 0) -> Callable[[], Capture]:
    def change(files: list[bytes]) -> None:
        data = files[channel]
        files[channel] = data[:at] + value + data[at + len(value) :]

    return lambda: multifd_set(change_bytes=change)


def _same_id() -> Capture:
    def change(channels: list[Channel]) -> None:
        channels[0].channel_id = channels[1].channel_id

    return multifd_set(change)


def _cut_channel(files: list[bytes]) -> None:
    files[0] = files[0][:-100]


MULTIFD: Final[Mapping[str, Callable[[], Capture]]] = {
    "multifd: sound": multifd_set,
    "multifd: version 2 of the initial packet": _patched(4, b"\0\0\0\x02"),
    "multifd: UUID": _patched(8, b"\x01" * 16),
    "multifd: id 7": _patched(24, b"\x07"),
    "multifd: id twice": _same_id,
    "multifd: packet magic": _changed(magic=0x11223345),
    "multifd: packet version": _changed(version=2),
    "multifd: compression that changes": _changed(flags=multifd.ZLIB),
    "multifd: unknown flag": _changed(flags=0x1000),
    "multifd: pages_alloc above a packet": _changed(capacity=129, array_len=128),
    "multifd: more normal pages than pages_alloc": _changed(capacity=4),
    "multifd: more zero pages than pages_alloc": _changed(zero_pages=500),
    "multifd: unknown block": _changed(ramblock="other"),
    "multifd: offset outside the block": _offsets(0, BLOCK_LEN),
    "multifd: offset not aligned": _offsets(0, 100),
    "multifd: next_packet_size of other pages": _changed(next_packet_size=12345),
    "multifd: SYNC missing on a channel": lambda: multifd_set(_without_sync),
    "multifd: one SYNC more on each": lambda: multifd_set(_one_sync_more),
    "multifd: channel cut": lambda: multifd_set(change_bytes=_cut_channel),
    "multifd: reserved bytes": _patched(30, b"\xff" * 8),
    "multifd: syncs of each section": lambda: multifd_set(generation="8.2-flush-each"),
}


def all_cases() -> Iterable[tuple[str, Callable[[], Capture]]]:
    """Yield all cases with their names."""
    for cases in (STREAMS, MAPPED, MULTIFD):
        yield from cases.items()
