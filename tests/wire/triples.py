"""Every wire record once: the bytes of each field by hand, its value, and the length in C.

Values are chosen so that no two fields could be swapped, and no byte order taken for the other.
Reserved fields hold something, because it must be kept.
"""

from typing import Final

from qmig.wire import framing, libvirt, live, lzop, mapped_ram, multifd, ram, return_path, salvaged
from tests.wire.triple import Triple, raw, swapped32, text, u8, u16, u32, u64
from tests.wire.triples_devices import DEVICES, EXPORT

MAGIC: Final = ("magic", "11223344", 0x11223344)
UUID: Final = raw("uuid", "00112233445566778899aabbccddeeff", 16)
NAME: Final = raw("ramblock", b"pc.ram\0left over".hex(), 256)  # and more behind the NUL
WORDS: Final = tuple(0x0102030405060708 + i for i in range(4))


def words(name: str, count: int) -> tuple[str, str, list[int]]:
    """An array of 64-bit words that should be zero and are not."""
    return name, "".join(f"{word:016x}" for word in WORDS[:count]), list(WORDS[:count])


FRAMING: Final = (
    Triple(framing.FileHeader, 8, (("magic", "5145564d", 0x5145564D), u32("version", 3))),
    Triple(framing.SectionHead, None, (
        u8("type", 4), u32("section_id", 0x11), text("idstr", "0000:00:02.0/vga"),
        u32("instance_id", 0x80000001), u32("version_id", 10000))),
    Triple(framing.PartHead, 5, (u8("type", 3), u32("section_id", 0xFFFFFFFE))),
    Triple(framing.FooterRecord, 5, (("mark", "7e", 0x7E), u32("section_id", 0x01020304))),
    Triple(framing.CommandHead, 5, (("type", "08", 8), u16("command", 0x0B), u16("len", 0x1234))),
    Triple(framing.EofRecord, 1, (("type", "00", 0),)),
    Triple(framing.PingPayload, 4, (u32("value", 0x42),)),
    Triple(framing.PostcopyAdvisePayload, 16, (
        u64("page_size_summary", 0x201000), u64("target_page_size", 0x1000))),
    Triple(framing.RamDiscardHead, None, (
        u8("version", 0), text("block_name", "pc.ram"), u8("nul", 0))),
    Triple(framing.RamDiscardRange, 16, (
        u64("start_addr", 0x7FFF0000), u64("length", 0x200000))),
    Triple(framing.PackagedPayload, 4, (u32("length", 0x00012345),)),
    Triple(framing.RecvBitmapPayload, None, (text("block_name", "/rom@etc/acpi/tables"),)),
    Triple(framing.ConfigurationRecord, None, (
        ("type", "07", 7), ("name", "0000000d" + b"pc-q35-10.0-x".hex(), b"pc-q35-10.0-x"))),
    Triple(framing.SubsectionHead, None, (
        ("type", "05", 5), text("name", "configuration/uuid"), u32("version_id", 1))),
    Triple(framing.TargetPageBits, 4, (u32("target_page_bits", 12),)),
    Triple(framing.CapabilitiesHead, 4, (u32("caps_count", 2),)),
    Triple(framing.CapabilityName, None, (text("name", "x-ignore-shared"),)),
    Triple(framing.ConfigurationUuid, 16, (UUID,)),
    Triple(framing.VmDescriptionHead, 5, (("type", "06", 6), u32("length", 0x00ABCDEF))),
)  # fmt: skip

RAM: Final = (
    Triple(ram.RamWord, 8, (u64("word", 0x123456789ABC_028),)),
    Triple(ram.RamBlockRecord, None, (text("idstr", "pc.ram"), u64("used_length", 0x80000000))),
    Triple(ram.RamBlockPageSize, 8, (u64("page_size", 0x200000),)),
    Triple(ram.RamBlockAddr, 8, (u64("addr", 0xFFFC0000),)),
    Triple(ram.RamPageName, None, (text("idstr", "x" * 255),)),
    Triple(ram.FillByte, 1, (u8("fill", 0xFF),)),
    Triple(ram.XbzrleHead, 3, (u8("flag", 1), u16("encoded_len", 0x0D6F))),
    Triple(ram.CompressPageHead, 4, (u32("compressed_len", 0x0000100C),)),
    Triple(mapped_ram.MappedRamHeader, 28, (
        u32("version", 1), u64("page_size", 0x1000), u64("bitmap_offset", 0x8000000B5),
        u64("pages_offset", 0x900000))),
)  # fmt: skip

MULTIFD: Final = (
    Triple(multifd.MultifdInit2018, 25, (MAGIC, u32("version", 1), UUID, u8("id", 7))),
    Triple(multifd.MultifdInit, 64, (
        MAGIC, u32("version", 1), UUID, u8("id", 255), raw("unused1", "b4b5", 7),
        raw("unused2", "c0", 32))),
    Triple(multifd.MultifdPacketHdr, 12, (MAGIC, u32("version", 1), u32("flags", 0x80000045))),
    Triple(multifd.MultifdPacket2018, 284, (
        MAGIC, u32("version", 1), u32("flags", 1), u32("size", 16), u32("used", 15),
        u64("packet_num", 0x1_0000_0002), NAME)),
    Triple(multifd.MultifdPacket4, 320, (
        MAGIC, u32("version", 1), u32("flags", 1), u32("pages_alloc", 128),
        u32("pages_used", 127), u32("next_packet_size", 0x7F000), u64("packet_num", 1 << 40),
        words("unused", 4), NAME)),
    Triple(multifd.MultifdPacket7, 320, (
        MAGIC, u32("version", 1), u32("flags", 2), u32("pages_alloc", 128),
        u32("normal_pages", 127), u32("next_packet_size", 0x7F001), u64("packet_num", 1 << 41),
        words("unused", 4), NAME)),
    Triple(multifd.MultifdPacket9, 320, (
        MAGIC, u32("version", 1), u32("flags", 4), u32("pages_alloc", 128),
        u32("normal_pages", 100), u32("next_packet_size", 0x64000), u64("packet_num", 1 << 42),
        u32("zero_pages", 28), u32("unused32", 0xDEADBEEF), words("unused64", 3), NAME)),
    Triple(multifd.MultifdDeviceState, 276, (
        MAGIC, u32("version", 1), u32("flags", 0x40), raw("idstr", b"dev/vfio\0".hex(), 256),
        u32("instance_id", 3), u32("next_packet_size", 0x100000))),
    Triple(multifd.VfioDeviceStatePacket, 12, (
        u32("version", 0), u32("idx", 0x00000102), u32("flags", 1))),
)  # fmt: skip

LIVE: Final = (
    Triple(live.DirtyBitmapName, None, (text("name", "node0"),)),
    Triple(live.DirtyBitmapStart, 5, (u32("granularity", 65536), u8("flags", 3))),
    Triple(live.DirtyBitmapBits, 12, (u64("start_sector", 1 << 33), u32("nr_sectors", 2048))),
    Triple(live.DirtyBitmapBuffer, 8, (u64("buf_len", 4096),)),
    Triple(live.HtabHead, 4, (u32("section_hdr", 0xFFFFFFFF),)),
    Triple(live.HtabChunk, 8, (u32("index", 0x10002), u16("n_valid", 3), u16("n_invalid", 4))),
    Triple(live.StattribWord, 8, (u64("word", 0x7000_0002),)),
    Triple(live.StattribCount, 8, (u64("count", 0x80000),)),
    Triple(live.BlockWord, 8, (u64("word", 0x1234 << 9 | 0x9),)),
    Triple(live.VfioWord, 8, (u64("word", 0xFFFFFFFFEF100004),)),
)  # fmt: skip

RETURN_PATH: Final = (
    Triple(return_path.RpHead, 4, (u16("type", 3), u16("len", 0x13))),
    Triple(return_path.RpWord, 4, (u32("value", 1),)),
    Triple(return_path.RpReqPages, 12, (u64("start_addr", 0x1_2345_6000), u32("len", 4096))),
    Triple(return_path.RpReqPagesId, None, (
        u64("start_addr", 0x1_2345_6000), u32("len", 4096), text("block_name", "pc.ram"))),
    Triple(return_path.RpRecvBitmap, None, (text("block_name", "pc.ram"),)),
    Triple(return_path.RpBitmapSize, 8, (u64("size", 136),)),
)  # fmt: skip

_LIBVIRT_UNUSED: Final = list(range(0x01020304, 0x01020304 + 14))

CONTAINERS: Final = (
    Triple(libvirt.LibvirtSaveHeader, 92, (
        ("magic", b"LibvirtQemudSave".hex(), b"LibvirtQemudSave"), swapped32("version", 2),
        swapped32("data_len", 0x00010539), swapped32("was_running", 1), swapped32("format", 6),
        swapped32("cookieOffset", 0x1234),
        ("unused", "".join(v.to_bytes(4, "little").hex() for v in _LIBVIRT_UNUSED),
         _LIBVIRT_UNUSED))),
    Triple(libvirt.LIBVIRT_SAVE_HEADER_SWAPPED, 92, (
        ("magic", b"LibvirtQemudPart".hex(), b"LibvirtQemudPart"), u32("version", 2),
        u32("data_len", 0x00010539), u32("was_running", 1), u32("format", 6),
        u32("cookieOffset", 0x1234),
        ("unused", "".join(f"{v:08x}" for v in _LIBVIRT_UNUSED), _LIBVIRT_UNUSED))),
    Triple(lzop.LzopHead, 21, (
        ("magic", "894c5a4f000d0a1a0a", bytes.fromhex("894c5a4f000d0a1a0a")),
        u16("version", 0x1040), u16("lib_version", 0x20A0), u16("version_needed", 0x0940),
        u8("method", 1), u8("level", 3), u32("flags", 0x03000001))),
    Triple(lzop.LzopMode, None, (
        u32("mode", 0o100644), u32("mtime_low", 0x5F000000), u32("mtime_high", 1),
        text("name", "vm.sav"), u32("checksum", 0xCAFEBABE))),
    Triple(lzop.LzopBlockLen, 4, (u32("dst_len", 262144),)),
    Triple(lzop.LzopStoredLen, 4, (u32("src_len", 1111),)),
)  # fmt: skip

SALVAGED: Final = (
    Triple(salvaged.SalvagedHead, None, (
        u32("flags", 0x9), u64("lost_ram_len", 0x123456789A), u32("blocks", 3), u32("devices", 2),
        ("origin", "0000000a" + b"a.sav\nb.ch".hex(), b"a.sav\nb.ch"),
        ("error", "00000003" + b"0x9".hex(), b"0x9"))),
    Triple(salvaged.SalvagedBlock, None, (
        text("idstr", "pc.ram"), u64("known_pages", 327), u64("unknown_pages", 697),
        u32("ranges", 1))),
    Triple(salvaged.SalvagedRange, 16, (u64("first_page", 327), u64("pages", 697))),
    Triple(salvaged.SalvagedDevice, None, (text("idstr", "timer"), u32("instance_id", 7))),
)  # fmt: skip

TRIPLES: Final = (
    *FRAMING, *RAM, *MULTIFD, *LIVE, *RETURN_PATH, *CONTAINERS, *SALVAGED, *DEVICES, *EXPORT,
)  # fmt: skip
