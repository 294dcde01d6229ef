"""The builders' records against bytes written out by hand from the format's tables."""

import json
import zlib
from pathlib import Path

import pytest

from tests.builders import (
    commands,
    framing,
    handlers,
    libvirt,
    mapped_ram,
    multifd,
    payloads,
    ram,
    vmdesc,
    xbzrle,
)
from tests.builders.guest import Guest, describe_page, first_difference, stamped_page, truth
from tests.builders.walk_ram import decode_xbzrle


def raw(text: str) -> bytes:
    return bytes.fromhex(text)


RECORDS = {
    "file header": (framing.file_header(), "5145564d 00000003"),
    "file header v2": (framing.file_header(version=2), "5145564d 00000002"),
    "configuration": (framing.configuration("pc"), "07 00000002 7063"),
    "configuration that lies": (framing.configuration("pc", name_len=9), "07 00000009 7063"),
    "target page bits": (
        framing.target_page_bits(12),
        "05 1e" + b"configuration/target-page-bits".hex() + "00000001 0000000c",
    ),
    "capabilities": (
        framing.capabilities(["mapped-ram"]),
        "05 1a" + b"configuration/capabilities".hex() + "00000001 00000001 0a"
        + b"mapped-ram".hex(),
    ),
    "uuid": (
        framing.guest_uuid(b"\x11" * 16),
        "05 12" + b"configuration/uuid".hex() + "00000001" + "11" * 16,
    ),
    "start": (
        framing.section_start(2, "ram", b"\xaa"),
        "01 00000002 03 72616d 00000000 00000004 aa 7e 00000002",
    ),
    "start without footer": (
        framing.section_start(2, "ram", b"", footer=b""),
        "01 00000002 03 72616d 00000000 00000004",
    ),
    "part": (framing.section_part(2, b"\xaa"), "02 00000002 aa 7e 00000002"),
    "end with a foreign footer": (
        framing.section_end(2, b"", footer=framing.section_footer(3)),
        "03 00000002 7e 00000003",
    ),
    "full": (
        framing.section_full(9, "dma", b"\xbb", instance_id=1, version_id=3),
        "04 00000009 03 646d61 00000001 00000003 bb 7e 00000009",
    ),
    "end of file": (framing.end_of_file(), "00"),
    "open return path": (commands.open_return_path(), "08 0001 0000"),
    "ping": (commands.ping(0x42), "08 0002 0004 00000042"),
    "advise": (commands.postcopy_advise(0x201000, 4096),
               "08 0003 0010 0000000000201000 0000000000001000"),
    "advise for bitmaps": (commands.postcopy_advise(), "08 0003 0000"),
    "listen, run": (commands.postcopy_listen() + commands.postcopy_run(), "0800040000 0800050000"),
    "discard": (
        commands.postcopy_ram_discard("m0", [(0x1000, 0x2000)]),
        "08 0006 0015 00 02 6d30 00 0000000000001000 0000000000002000",
    ),
    "package": (commands.packaged(b"\xcc\xdd"), "08 0007 0004 00000002 ccdd"),
    "colo, resume": (commands.enable_colo() + commands.postcopy_resume(), "0800080000 0800090000"),
    "resume of 3.0": (commands.postcopy_resume(number=8), "08 0008 0000"),
    "received bitmap": (commands.recv_bitmap("m0"), "08 000a 0003 02 6d30"),
    "switchover": (commands.switchover_start(), "08 000b 0000"),
    "command that lies": (commands.command(2, b"\1", payload_len=4), "08 0002 0004 01"),
    "description": (vmdesc.vmdescription({"page_size": 1}),
                    "06 00000010" + b'{"page_size": 1}'.hex()),
    "block list": (
        ram.block_list([ram.BlockEntry("m0", 0x1000), ram.BlockEntry("m1", 0x2000)]),
        "0000000000003004 02 6d30 0000000000001000 02 6d31 0000000000002000 0000000000000010",
    ),
    "block with page size and address": (
        ram.BlockEntry("m0", 0x1000, page_size=0x200000, addr=0xF000).build(),
        "02 6d30 0000000000001000 0000000000200000 000000000000f000",
    ),
    "zero": (ram.zero(0x3000), "0000000000003022 00"),
    "zero with fill and name": (ram.zero(0, "m0", fill=0xFF), "0000000000000002 02 6d30 ff"),
    "page": (ram.page(0x100, b"\x77" * 4), "0000000000000128 77777777"),
    "named page": (ram.page(0x1000, b"\x77", "m0"), "0000000000001008 02 6d30 77"),
    "xbzrle": (ram.xbzrle(0x1000, b"\1\1\xee"), "0000000000001060 01 0003 0101ee"),
    "compressed": (
        ram.compress_page(0, b"", "m0", compressed=b"\x78"),
        "0000000000000100 02 6d30 00000001 78",
    ),
    "end of section, flush, hook": (
        ram.eos() + ram.multifd_flush() + ram.hook(),
        "0000000000000010 0000000000000200 0000000000000080",
    ),
    "mapped-ram header": (
        mapped_ram.header(4096, 0x77, 0x100000),
        "00000001 0000000000001000 0000000000000077 0000000000100000",
    ),
    "bitmap": (mapped_ram.bitmap([0, 9, 64], 65), "01020000 00000000 01000000 00000000"),
    "bitmap of a big-endian host": (
        mapped_ram.bitmap([0, 9, 64], 65, big_endian=True),
        "00000000 00000201 00000000 00000001",
    ),
    "dirty bitmap": (
        handlers.bitmap_start("n", "b") + handlers.bitmap_bits(0, 8, None)
        + handlers.bitmap_bits(8, 16, b"\1" * 4) + handlers.bitmap_complete()
        + handlers.bitmap_eos(),
        "1c 016e 0162 00010000 01"
        "42 0000000000000000 00000008"
        "40 0000000000000008 00000010 0000000000000004 01010101"
        "20 01",
    ),
    "block chunk": (
        handlers.block_chunk("d", 2048, None) + handlers.block_progress(100),
        "0000000000100009 0164 000000000000c804",
    ),
    "htab": (
        handlers.htab_start(24) + handlers.htab_part([(7, b"\xee" * 16, 2)]),
        "00000018 00000000 00000007 0001 0002" + "ee" * 16 + "00000000 0000 0000",
    ),
    "no htab": (handlers.htab_start(None), "ffffffff"),
    "storage attributes": (
        handlers.storage_attributes([(0x1000, b"\5")], done=True),
        "0000000000001002 0000000000000001 05 0000000000000008 0000000000000001",
    ),
    "storage keys": (
        handlers.storage_keys([(0x1000, b"\5\6")]),
        "0000000000001002 0000000000000002 0506 0000000000000001",
    ),
    "vfio": (
        handlers.vfio_setup() + handlers.vfio_part([b"\xaa"])
        + handlers.vfio_part([], initial_data_sent=True),
        "ffffffffef100003 ffffffffef100001"
        "ffffffffef100004 0000000000000001 aa ffffffffef100001 ffffffffef100005",
    ),
    "vfio on a channel": (multifd.vfio_state(3, b"\xaa", flags=1), "00000000 00000003 00000001 aa"),
}  # fmt: skip


@pytest.mark.parametrize("name", RECORDS)
def test_record_is_what_the_format_says(name: str) -> None:
    built, expected = RECORDS[name]
    assert built == raw(expected)


def test_init_packets_of_both_lengths() -> None:
    old = multifd.init_packet(3, uuid=b"\x55" * 16, layout=multifd.Layout.X_MULTIFD)
    assert old == raw("11223344 00000001" + "55" * 16 + "03")
    assert multifd.init_packet(3, uuid=b"\x55" * 16) == old + bytes(39)
    assert (len(old), len(old) + 39) == (multifd.INIT_2018_LEN, multifd.INIT_LEN)


def test_packet_of_3_1() -> None:
    packet = multifd.Packet(
        flags=1, capacity=2, normal=1, packet_num=5, ramblock="m0", offsets=[0x3000],
        payload=b"\x99", layout=multifd.Layout.X_MULTIFD,
    ).build()  # fmt: skip
    head = "11223344 00000001 00000001 00000002 00000001 0000000000000005"
    assert packet == raw(head) + b"m0".ljust(256, b"\0") + raw(
        "00000000000030000000000000000000 99"
    )
    assert len(packet) == multifd.HEADER_2018_LEN + 16 + 1


def test_packet_of_9_and_later() -> None:
    packet = multifd.Packet(
        flags=2, capacity=128, normal=1, next_packet_size=7, packet_num=5, zero_pages=1,
        ramblock="m0", offsets=[0x3000, 0x4000], payload=b"\x99" * 7,
    ).build()  # fmt: skip
    head = "11223344 00000001 00000002 00000080 00000001 00000007 0000000000000005 00000001"
    assert packet[:36] == raw(head)
    assert packet[36:64] == bytes(28)
    assert packet[64:320] == b"m0".ljust(256, b"\0")
    assert packet[320:336] == raw("0000000000003000 0000000000004000")
    assert len(packet) == 1344 + 7


@pytest.mark.parametrize(("page_size", "length"), [(4096, 1344), (8192, 832), (16384, 576)])
def test_header_length_follows_from_the_page_size(page_size: int, length: int) -> None:
    capacity = multifd.page_count(page_size)
    assert len(multifd.Packet(capacity=capacity).header()) == length


def test_device_state_packet() -> None:
    packet = multifd.DeviceStatePacket("dev", b"\x99\x98", instance_id=6).build()
    head = raw("11223344 00000001 00000040") + b"dev".ljust(256, b"\0")
    assert packet == head + raw("00000006 00000002 9998")
    assert len(head) + 8 == multifd.DEVICE_STATE_LEN


def test_every_field_of_a_packet_can_lie() -> None:
    packet = multifd.Packet(
        magic=1, version=2, flags=3, capacity=4, normal=5, next_packet_size=6, packet_num=7,
        zero_pages=8, reserved=b"\xff" * 28, ramblock=b"\xfe" * 256, offsets=[9], array_len=1,
    ).build()  # fmt: skip
    words = "00000001 00000002 00000003 00000004 00000005 00000006 0000000000000007 00000008"
    assert packet == raw(words) + b"\xff" * 28 + b"\xfe" * 256 + raw("0000000000000009")


def test_uleb128_forms() -> None:
    counts = [0, 0x7F, 0x80, 4096, 0x3FFF]
    forms = ["00", "7f", "8001", "8020", "ff7f"]
    assert [xbzrle.uleb128(count).hex() for count in counts] == forms
    assert xbzrle.uleb128(5, long_form=True).hex() == "8500"
    with pytest.raises(ValueError, match="16384"):
        xbzrle.uleb128(0x4000)


def test_xbzrle_stops_at_the_last_change() -> None:
    old = bytes(4096)
    new = b"\1\2" + bytes(200) + b"\3" + bytes(3893)
    assert xbzrle.encode(old, new).hex() == "00020102" + "c801" + "0103"
    assert xbzrle.encode(old, old) == b""
    assert xbzrle.build(decode_xbzrle(xbzrle.encode(old, new))) == xbzrle.encode(old, new)
    whole = b"\xff" * 4096
    assert xbzrle.encode(old, whole) == raw("00 8020") + whole


def test_zlib_channel_is_one_flushed_stream() -> None:
    encoder = payloads.ZlibEncoder()
    first, second = encoder.encode([b"a" * 4096]), encoder.encode([b"a" * 4096] * 2)
    assert first.endswith(b"\0\0\xff\xff")
    assert second.endswith(b"\0\0\xff\xff")
    stream = zlib.decompressobj()
    assert stream.decompress(first) == b"a" * 4096
    assert stream.decompress(second) == b"a" * 8192
    assert not stream.eof
    with pytest.raises(zlib.error):
        zlib.decompressobj().decompress(second)


def test_accelerators_store_what_does_not_shrink() -> None:
    guest = Guest({"m": 8192})
    guest.scramble("m", [1])
    pages = [guest.page("m", 0), guest.page("m", 1)]
    for encoder, bits in ((payloads.QplEncoder(), -15), (payloads.UadkEncoder(), 15)):
        packed = encoder.encode(pages)
        length = int.from_bytes(packed[:4], "big")
        assert packed[4:8] == raw("00001000")
        assert zlib.decompress(packed[8 : 8 + length], bits) == pages[0]
        assert packed[8 + length :] == pages[1]


def test_qatzip_members_hold_their_lengths() -> None:
    packed = payloads.QatzipEncoder().encode([b"x" * 4096] * 17)
    assert packed[:16] == raw("1f8b0804 00000000 00ff 0c00 515a 0800")
    assert int.from_bytes(packed[16:20], "little") == 65536
    first_len = 24 + int.from_bytes(packed[20:24], "little") + 8
    assert zlib.decompress(packed[:first_len], 31) == b"x" * 65536
    assert zlib.decompress(packed[first_len:], 31) == b"x" * 4096


def test_description_in_both_styles_and_with_repeated_keys() -> None:
    assert vmdesc.text({"a": [1, {"b": "c"}]}) == '{"a": [1, {"b": "c"}]}'
    assert vmdesc.text({"a": [1, {"b": "c"}]}, blanks=True) == '{ "a" : [ 1, { "b" : "c" } ] }'
    twice = '{"name": "q", "fields": [1], "fields": [2]}'
    assert vmdesc.text(vmdesc.parse(twice)) == twice
    assert json.loads(vmdesc.text(vmdesc.TIMER_DEVICE))["fields"][1]["size"] == 8
    assert vmdesc.vmdescription(b"garbage", length=1)[:5] == raw("06 00000001")


def test_libvirt_header_in_both_byte_orders() -> None:
    little = libvirt.header(100, fmt=5, was_running=1, cookie_offset=7)
    big = libvirt.header(100, fmt=5, was_running=1, cookie_offset=7, big_endian=True)
    assert little == b"LibvirtQemudSave" + raw("02000000640000000100000005000000 07000000") + bytes(
        56
    )
    assert big == b"LibvirtQemudSave" + raw("00000002000000640000000100000005 00000007") + bytes(56)
    assert len(little) == libvirt.HEADER_LEN
    image = libvirt.image("<x/>", b"QEVM", cookie="<c/>", magic=libvirt.PARTIAL_MAGIC)
    assert image.startswith(b"LibvirtQemudPart")
    assert image[32:36] == raw("05000000")
    assert image[92:102] == b"<x/>\0<c/>\0"
    assert image[92 + 10 + 65536 :] == b"QEVM"


def test_mapped_ram_file_is_sparse_and_aligned(tmp_path: Path) -> None:
    path = tmp_path / "mapped"
    block = mapped_ram.MappedBlock("m0", 64 << 20, {0: b"\x11" * 4096, 9: b"\x22" * 4096})
    stale = mapped_ram.MappedBlock("m1", 8192, {1: b"\x33" * 4096}, frozenset())
    mapped_ram.write_capture(path, b"head", [block, stale], b"rest", file_offset=0x3000)
    data = path.read_bytes()
    assert data[:0x3000] == bytes(0x3000)
    at = 0x3000 + 4 + 8 + 3 + 8
    assert data[at : at + 28] == mapped_ram.header(4096, at + 28, 0x100000)
    assert data[at + 28 : at + 30] == raw("0102")
    assert data[0x100000 + 9 * 4096 :][:4096] == b"\x22" * 4096
    second = 0x100000 + (64 << 20)
    assert data[second : second + 3] == b"\x02m1"
    pages_at = 0x4200000
    assert data[pages_at + 4096 : pages_at + 8192] == b"\x33" * 4096
    assert data[second + 11 + 28 : second + 11 + 36] == bytes(8)
    assert data[pages_at + 8192 :] == ram.eos() + b"rest"
    assert path.stat().st_blocks * 512 < 1 << 20


def test_guest_pages_tell_who_they_are() -> None:
    guest = Guest({"a": 8192, "b": 4096})
    assert guest.take_dirty() == [("a", 0), ("a", 1), ("b", 0)]
    guest.stamp("b", [0], 3)
    guest.poke("a", 4095, b"xy")
    assert guest.take_dirty() == [("a", 0), ("a", 1), ("b", 0)]
    assert guest.take_dirty() == []
    assert describe_page(guest.page("b", 0)) == "block 1 page 0 version 3 (from group 0)"
    assert describe_page(bytes(4096)) == "a page full of 0x00"
    assert first_difference(guest.contents(), guest.contents()) is None
    assert truth({"b": b"\0"})["b"]["ranges"][0]["length"] == 1
    assert len(stamped_page(0, 0, 0, 256)) == 256
    with pytest.raises(ValueError, match="4096"):
        guest.store("a", 0, b"short")
