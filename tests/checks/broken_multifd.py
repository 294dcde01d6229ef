"""multifd sets that break one rule of QM3xx each, built by hand.

A set is built whole, read back into packets, changed in one place and built again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

from tests.builders import multifd, ram
from tests.builders.generations import build_set
from tests.builders.guest import Guest
from tests.builders.migration import Workload
from tests.builders.multifd import DeviceStatePacket, Packet
from tests.builders.primitives import be32
from tests.builders.walk_multifd import Channel, read_channel
from tests.checks.example import MAIN, Broken, Example, Files

MACHINE: Final = "none"
BLOCK: Final = "ram"
PAGES: Final = 1024
PAGE_LEN: Final = 4096
_OFFSETS_AT: Final = 320
_PAYLOAD_AT: Final = _OFFSETS_AT + 8 * multifd.page_count(PAGE_LEN)
_DEVICE: Final = "timer"  # a section that every machine has
_EMPTY_BLOCK: Final = b"\0\0\0\xff\xff"  # of a deflate stream: gives nothing
_FIELDS: Final = {
    "magic": 0,
    "version": 4,
    "flags": 8,
    "capacity": 12,
    "normal": 16,
    "next_packet_size": 20,
    "packet_num": 24,
    "zero_pages": 32,
    "ramblock": 64,
}


def _workload() -> Workload:
    def boot(guest: Guest) -> None:
        guest.stamp(BLOCK, range(0, 60, 2))
        guest.stamp(BLOCK, range(128, 180, 2))

    def work(guest: Guest) -> None:
        guest.stamp(BLOCK, range(10, 40), 1)
        guest.stamp(BLOCK, range(140, 340, 4), 1)

    def last(guest: Guest) -> None:
        guest.stamp(BLOCK, range(20, 30), 2)

    return Workload(Guest({BLOCK: PAGES * PAGE_LEN}), [boot, work, last], PAGES)


@dataclass
class Connections:
    """A set whose packets can be changed.

    Attributes:
        main: the main stream.
        channels: the channels by id.
    """

    main: bytes
    channels: list[Channel]

    def files(self) -> dict[str, bytes]:
        """Build the files."""
        channels = {_file(at): channel.build() for at, channel in enumerate(self.channels)}
        return {MAIN: self.main, **channels}

    def offset(self, channel: int, index: int) -> int:
        """Return where a packet begins."""
        packets = self.channels[channel].packets[:index]
        return multifd.INIT_LEN + sum(len(packet.build()) for packet in packets)

    def packet(self, channel: int, index: int) -> Packet:
        """Return a packet with room for pages."""
        packet = self.channels[channel].packets[index]
        assert isinstance(packet, Packet)
        return packet

    def change(self, channel: int, index: int, **fields: Any) -> None:  # noqa: ANN401  # Packet's
        """Give fields of a packet other values; its payload stays."""
        self.channels[channel].packets[index] = replace(self.packet(channel, index), **fields)

    def find(self, channel: int, wanted: Callable[[Packet], object]) -> int:
        """Return the index of the first packet that is wanted."""
        packets = enumerate(self.channels[channel].packets)
        return next(at for at, one in packets if isinstance(one, Packet) and wanted(one))

    def broken(self, channel: int, index: int, at: int = 0) -> Broken:
        """Return the files, broken at a byte of a packet."""
        return Broken(self.files(), self.offset(channel, index) + at, _file(channel))


def _file(channel: int) -> str:
    return f"channel-{channel}"


@cache
def _built(name: str, method: int, channels: int) -> tuple[bytes, tuple[bytes, ...]]:
    built = build_set(name, method=method, channels=channels, workload=_workload(), machine=MACHINE)
    by_id = sorted(built.channels, key=lambda data: data[24])
    return built.main, tuple(by_id)


def connections(
    name: str = "10.0", *, method: int = multifd.NOCOMP, channels: int = 2
) -> Connections:
    """Build a sound set."""
    main, built = _built(name, method, channels)
    return Connections(main, [read_channel(data) for data in built])


def _sound(**how: Any) -> Callable[[], Files]:  # noqa: ANN401  # those of `connections`
    return lambda: connections(**how).files()


def _has_pages(packet: Packet) -> bool:
    return packet.normal > 0


def _has_both(packet: Packet) -> bool:
    return packet.normal > 1 and packet.zero_pages > 0


def _is_sync(packet: Packet) -> bool:
    return bool(packet.flags & multifd.SYNC) and not packet.normal


def _patched(made: Connections, channel: int, at: int, new: bytes) -> Broken:
    files = made.files()
    data = files[_file(channel)]
    files[_file(channel)] = data[:at] + new + data[at + len(new) :]
    return Broken(files, at, _file(channel))


# -- initial packets ------------------------------------------------------------------------------


def _channel_version() -> Broken:
    return _patched(connections(), 1, 4, be32(2))


def _uuids() -> Broken:
    made = connections()
    made.channels[1].uuid = bytes(range(16))
    return Broken(made.files(), 8, _file(1))


def _id_twice() -> Broken:
    made = connections(channels=3)
    made.channels[2].channel_id = 1
    return Broken(made.files(), 24, _file(2))


def _ids_missing(channels: int) -> Broken:
    """Leave out all channels but the first and the last."""
    files = connections(channels=channels).files()
    for channel in range(1, channels - 1):
        del files[_file(channel)]
    return Broken(files, 24, _file(channels - 1))


def _reserved() -> Broken:
    made = connections()
    made.channels[0].reserved = b"\xb4" + bytes(38)
    return Broken(made.files(), 25, _file(0))


def _cut() -> Broken:
    made = connections()
    files = made.files()
    last = made.offset(1, len(made.channels[1].packets) - 1)
    files[_file(1)] = files[_file(1)][: last + 100]
    return Broken(files, last, _file(1))


# -- fields of packets ----------------------------------------------------------------------------


def _field(
    name: str,
    value: Callable[[Packet], Any],
    *,
    wanted: Callable[[Packet], object] = _has_pages,
    method: int = multifd.NOCOMP,
    found: str | None = None,
) -> Callable[[], Broken]:
    """Return what gives one field of one packet another value, and where that is found."""

    def broken() -> Broken:
        made = connections(method=method)
        index = made.find(1, wanted)
        made.change(1, index, **{name: value(made.packet(1, index))})
        return made.broken(1, index, _FIELDS[found or name])

    return broken


def _method_unknown() -> Broken:
    made = connections()
    index = made.find(1, _has_pages)
    made.change(1, index, flags=0x06)
    return made.broken(1, index, _FIELDS["flags"])


def _offset_entry(addr: Callable[[int], int]) -> Callable[[], Broken]:
    def broken() -> Broken:
        made = connections()
        index = made.find(1, _has_pages)
        first, *others = made.packet(1, index).offsets
        made.change(1, index, offsets=[addr(first), *others])
        return made.broken(1, index, _OFFSETS_AT)

    return broken


# -- payloads -------------------------------------------------------------------------------------


def _long_payload() -> Broken:
    made = connections(method=multifd.ZLIB)
    index = made.find(1, _has_pages)
    payload = made.packet(1, index).payload + _EMPTY_BLOCK * (1 << 18)
    made.change(1, index, payload=payload, next_packet_size=len(payload))
    return made.broken(1, index, _FIELDS["next_packet_size"])


def _payload(method: int, at: int, new: bytes) -> Callable[[], Broken]:
    """Return what changes bytes of a channel's first payload."""

    def broken() -> Broken:
        made = connections(method=method)
        index = made.find(1, _has_pages)
        old = made.packet(1, index).payload
        made.change(1, index, payload=old[:at] + new + old[at + len(new) :])
        return made.broken(1, index, _PAYLOAD_AT)

    return broken


def _pages_of_payload(more: int) -> Callable[[], Broken]:
    """Return what says of a zero page that it is in the payload, or the other way round."""

    def broken() -> Broken:
        made = connections(method=multifd.ZSTD)
        index = made.find(1, _has_both)
        packet = made.packet(1, index)
        counts = {"normal": packet.normal + more, "zero_pages": packet.zero_pages - more}
        made.change(1, index, **counts)
        return made.broken(1, index, _PAYLOAD_AT)

    return broken


# -- numbers --------------------------------------------------------------------------------------


def _number_twice() -> Broken:
    made = connections()
    numbers = [packet.packet_num for packet in made.channels[0].ram_packets()]
    mine = [packet.packet_num for packet in made.channels[1].ram_packets()]
    index, number = next(
        (at, number)
        for at in range(1, len(mine) - 1)
        for number in numbers
        if mine[at - 1] < number < mine[at + 1]
    )
    made.change(1, index, packet_num=number)
    return made.broken(1, index, _FIELDS["packet_num"])


def _number_missing() -> Broken:
    made = connections()
    index = made.find(1, _has_pages)
    missing = made.packet(1, index).packet_num
    for channel, read in enumerate(made.channels):
        for at, packet in enumerate(read.ram_packets()):
            if packet.packet_num >= missing:
                made.change(channel, at, packet_num=packet.packet_num + 1)
    return made.broken(1, index, _FIELDS["packet_num"])


def _number_too_high() -> Broken:
    made = connections()
    count = sum(len(read.ram_packets()) for read in made.channels)
    places = ((c, at) for c in range(2) for at in range(len(made.channels[c].ram_packets())))
    channel, index = next(p for p in places if made.packet(*p).packet_num == count - 1)
    made.change(channel, index, packet_num=count + 4)
    return made.broken(channel, index, _FIELDS["packet_num"])


def _number_back() -> Broken:
    made = connections()
    index = made.find(1, _has_pages)
    first, second = (made.packet(1, at).packet_num for at in (index, index + 1))
    made.change(1, index, packet_num=second)
    made.change(1, index + 1, packet_num=first)
    return made.broken(1, index + 1, _FIELDS["packet_num"])


# -- syncs ----------------------------------------------------------------------------------------


def _sync_of_one_channel() -> Broken:
    made = connections("8.2")
    packets = made.channels[1].packets
    index = [at for at, packet in enumerate(made.channels[1].ram_packets()) if _is_sync(packet)][1]
    never_sent = made.packet(1, index).packet_num
    del packets[index]
    for channel, read in enumerate(made.channels):
        for at, packet in enumerate(read.ram_packets()):
            if packet.packet_num > never_sent:
                made.change(channel, at, packet_num=packet.packet_num - 1)
    return made.broken(1, index)


def _sync_of_all_channels() -> Broken:
    made = connections("8.2")
    for channel in made.channels:
        last = channel.packets.pop()
        assert isinstance(last, Packet)
        assert _is_sync(last)
    return made.broken(0, len(made.channels[0].packets))


def _next_number(made: Connections) -> int:
    return 1 + max(p.packet_num for channel in made.channels for p in channel.ram_packets())


def _sync_too_many() -> Broken:
    made = connections()
    for channel in made.channels:
        sync = replace(channel.ram_packets()[-1], packet_num=_next_number(made))
        channel.packets.append(sync)
    return made.broken(0, len(made.channels[0].packets) - 1)


def _flush_too_late() -> Broken:
    made = connections()
    word, main = ram.multifd_flush(), made.main
    first = main.index(word)
    main = main[:first] + main[first + len(word) :]
    last = main.rindex(word + ram.eos())
    made.main = main[:last] + word + main[last:]
    return Broken(made.files(), first)


def _pages_behind_sync() -> Broken:
    made = connections()
    packet = made.packet(0, made.find(0, _has_pages))
    made.channels[0].packets.append(replace(packet, packet_num=_next_number(made)))
    return made.broken(0, len(made.channels[0].packets) - 1)


def _page_on_two_channels(name: str) -> Callable[[], Broken]:
    """Return what sends a packet of channel 0 on channel 1 as well, before the next SYNC."""

    def broken() -> Broken:
        made = connections(name)
        index = made.find(0, _has_pages)
        packet = made.packet(0, index)
        number, flags = packet.packet_num + 1, packet.flags & ~multifd.SYNC
        made.channels[1].packets.insert(1, replace(packet, packet_num=number, flags=flags))
        return made.broken(1, 1)

    return broken


# -- device state ---------------------------------------------------------------------------------


def _with_device(packet: DeviceStatePacket) -> Connections:
    made = connections()
    made.channels[1].packets.insert(2, packet)
    return made


_STATE: Final = DeviceStatePacket(_DEVICE, b"a piece of state" * 10)


def _sound_device() -> Files:
    return _with_device(_STATE).files()


def _device(at: int, **fields: Any) -> Callable[[], Broken]:  # noqa: ANN401  # of the packet
    return lambda: _with_device(replace(_STATE, **fields)).broken(1, 2, at)


_ZLIB: Final = _sound(method=multifd.ZLIB)
_ZSTD: Final = _sound(method=multifd.ZSTD)
_QPL: Final = _sound(method=multifd.QPL)

EXAMPLES: Final[Mapping[str, Example]] = {
    "QM300": Example(_channel_version, _sound()),
    "QM301": Example(_uuids, _sound()),
    "QM302": Example(_id_twice, _sound(channels=3)),
    "QM303": Example(lambda: _ids_missing(4), _sound(channels=4)),
    "QM306": Example(lambda: _ids_missing(3), _sound(channels=3)),
    "QM304": Example(_reserved, _sound()),
    "QM305": Example(_cut, _sound()),
    "QM310": Example(_field("magic", lambda _: 0x11223345), _sound()),
    "QM311": Example(_field("version", lambda _: 2), _sound()),
    "QM312": Example(_field("flags", lambda _: multifd.ZLIB), _sound()),
    "QM313": Example(_method_unknown, _sound()),
    "QM314": Example(_field("flags", lambda p: p.flags | 0x80), _sound()),
    "QM315": Example(_field("capacity", lambda _: 129), _sound()),
    "QM316": Example(_field("capacity", lambda p: p.normal - 1, found="normal"), _sound()),
    "QM317": Example(
        _field(
            "capacity",
            lambda p: p.normal + p.zero_pages - 1,
            wanted=_has_both,
            found="zero_pages",
        ),
        _sound(),
    ),
    "QM318": Example(_field("ramblock", lambda _: b"nothing"), _sound()),
    "QM319": Example(_offset_entry(lambda _: PAGES * PAGE_LEN), _sound()),
    "QM320": Example(_offset_entry(lambda addr: addr + 1), _sound()),
    "QM321": Example(_field("next_packet_size", lambda p: p.next_packet_size + 1), _sound()),
    "QM322": Example(
        _field(
            "next_packet_size",
            lambda _: 5,
            wanted=lambda p: p.zero_pages and not p.normal,
            method=multifd.ZLIB,
        ),
        _ZLIB,
    ),
    "QM323": Example(
        _field("next_packet_size", lambda p: p.next_packet_size - 10, method=multifd.ZSTD), _ZSTD
    ),
    "QM324": Example(_long_payload, _ZLIB),
    "QM325": Example(_payload(multifd.ZLIB, 2, b"\x07"), _ZLIB),
    "QM326": Example(_pages_of_payload(1), _ZSTD),
    "QM327": Example(_pages_of_payload(-1), _ZSTD),
    "QM328": Example(_payload(multifd.QPL, 0, be32(1)), _QPL),
    "QM330": Example(_number_twice, _sound()),
    "QM331": Example(_number_missing, _sound()),
    "QM333": Example(_number_too_high, _sound()),
    "QM332": Example(_number_back, _sound()),
    "QM340": Example(_sync_of_one_channel, _sound(name="8.2")),
    "QM341": Example(_sync_of_all_channels, _sound(name="8.2")),
    "QM342": Example(_sync_too_many, _sound()),
    "QM343": Example(_flush_too_late, _sound()),
    "QM344": Example(_pages_behind_sync, _sound()),
    "QM345": Example(_page_on_two_channels("8.2"), _sound(name="8.2")),
    "QM346": Example(_page_on_two_channels("4.0"), _sound(name="4.0")),
    "QM350": Example(_device(12, idstr=b"x" * 256), _sound_device),
    "QM351": Example(_device(272, payload=b""), _sound_device),
    "QM352": Example(_device(8, flags=multifd.DEVICE_STATE | multifd.SYNC), _sound_device),
    "QM353": Example(_device(12, idstr="nothing"), _sound_device),
}
