"""Small captures of every kind, built by `tests.builders`: what a fuzzer begins with."""

import bz2
import gzip
import lzma
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import zstandard

from qmig.migrate.lzop import LzopCompressor
from tests.builders import commands, framing, handlers, libvirt, mapped_ram, multifd, ram, vmdesc
from tests.builders import xbzrle as deltas
from tests.builders.generations import GENERATIONS
from tests.builders.guest import Guest
from tests.builders.machine import MainStream, around_mapped_ram
from tests.builders.mapped_ram import MappedBlock
from tests.builders.migration import MigrationSet, Workload
from tests.builders.primitives import be32, be64, counted
from tests.builders.sender import Sender
from tests.devices import described
from tests.fuzz.gapped import Files, GappedFile, gapped

DOMAIN: Final = "<domain type='qemu'>\n  <name>small</name>\n</domain>\n"
COOKIE: Final = "<qemusavecookie/>\n"
_PAGE_LEN: Final = 256  # the smallest target page there is (avr), so that streams stay small
_BLOCK: Final = "ram"
_ROM: Final = "boot.rom"
_VFIO: Final = "0000:00:03.0/vfio"


def _one(data: bytes) -> Files:
    return (gapped(data),)


def _guest(page_len: int = _PAGE_LEN, pages: int = 12) -> Guest:
    guest = Guest({_BLOCK: pages * page_len, _ROM: 4 * page_len}, page_len)
    guest.stamp(_BLOCK, (index for index in range(pages) if index % 3))
    guest.stamp(_ROM, [1])
    return guest


def _records(guest: Guest, one: Callable[[int, bytes, str | None], bytes] | None = None) -> bytes:
    """Build the records of all dirty pages; `one` builds those that are not zero."""
    last: str | None = None
    parts = []
    for block, index in guest.take_dirty():
        page, addr = guest.page(block, index), index * guest.page_size
        name = None if block == last else block
        last = block
        if not any(page):
            parts.append(ram.zero(addr, name))
        else:
            parts.append((one or ram.page)(addr, page, name))
    return b"".join(parts)


def _entries(guest: Guest, *, addr: bool = False, page_size: bool = False) -> list[ram.BlockEntry]:
    return [
        ram.BlockEntry(
            name,
            length,
            page_size=2 << 20 if page_size else None,
            addr=index << 32 if addr else None,
        )
        for index, (name, length) in enumerate(guest.lengths.items())
    ]


def _begun(
    release: str = "10.0",
    guest: Guest | None = None,
    **more: Any,  # noqa: ANN401  # what MainStream takes
) -> MainStream:
    main = MainStream(release, "none", page_size=_PAGE_LEN, **more)
    if guest is not None:
        main.ram_start(ram.block_list(_entries(guest)))
    return main


def _ended(main: MainStream, records: bytes = b"", *, describe: bool = True) -> bytes:
    main.switchover()
    main.ram_end(records)
    main.standard_devices()
    return main.finish(describe=describe)


def _rounds(release: str, one: Callable[[int, bytes, str | None], bytes] | None = None) -> bytes:
    guest = _guest()
    main = _begun(release, guest)
    main.ram_part(_records(guest, one))
    guest.stamp(_BLOCK, [1, 2, 7], 1)
    return _ended(main, _records(guest, one))


def ordinary() -> Files:
    """PAGE and ZERO records in two rounds."""
    return _one(_rounds("10.0"))


def fill_bytes() -> Files:
    """ZERO records with another byte."""
    return _one(_rounds("2.4", lambda addr, page, name: ram.zero(addr, name, fill=page[0])))


def compressed_pages() -> Files:
    """COMPRESS_PAGE records."""
    return _one(_rounds("8.2", ram.compress_page))


def xbzrle() -> Files:
    """XBZRLE records on pages that were sent before."""
    guest = _guest()
    main = _begun("9.2", guest)
    main.ram_part(_records(guest))
    for version in (1, 2):
        before = guest.contents()
        guest.poke(_BLOCK, 300 + version, b"changed" * 5)
        guest.poke(_BLOCK, 1024, bytes([version]) * 200)
        guest.poke(_ROM, 256, b"x")
        main.ram_part(_deltas(guest, before))
    return _one(_ended(main))


def _deltas(guest: Guest, before: Mapping[str, bytes]) -> bytes:
    parts, last = [], None
    for block, index in guest.take_dirty():
        addr = index * guest.page_size
        old = before[block][addr : addr + guest.page_size]
        name = None if block == last else block
        last = block
        parts.append(ram.xbzrle(addr, deltas.encode(old, guest.page(block, index)), name))
    return b"".join(parts)


def hooks() -> Files:
    """HOOK words of RDMA."""
    guest = _guest()
    main = _begun()
    main.ram_start(ram.block_list(_entries(guest), tail=ram.hook() + ram.eos()))
    main.ram_part(ram.hook())
    return _one(_ended(main, ram.hook()))


def configured() -> Files:
    """All subsections of the configuration, and addresses of shared blocks."""
    guest = _guest()
    subsections = [
        framing.target_page_bits(8),
        framing.capabilities(["x-ignore-shared"]),
        framing.guest_uuid(bytes(range(16))),
    ]
    main = _begun(subsections=subsections)
    main.ram_start(ram.block_list(_entries(guest, addr=True)))
    main.ram_part(_records(guest))
    return _one(_ended(main))


def no_footers() -> Files:
    """Sections without footers."""
    guest = _guest()
    main = _begun("2.4", guest, footers=False)
    main.ram_part(_records(guest))
    return _one(_ended(main))


def no_description() -> Files:
    """No vmdescription, and something behind the end."""
    guest = _guest()
    main = _begun("5.2", guest)
    main.ram_part(_records(guest))
    main.add(framing.section_full(9, "slirp", handlers.slirp_like()))
    return _one(_ended(main, describe=False) + bytes(40) + b"older bytes")


def no_ram() -> Files:
    """Devices alone."""
    main = _begun()
    main.standard_devices()
    return _one(main.finish())


def live_handlers() -> Files:
    """Dirty bitmaps, disks, hash table, storage attributes and keys, VFIO, and a body unknown."""
    guest = _guest()
    main = _begun("8.2")
    main.start(1, "block", handlers.block_eos(), 1)
    main.start(2, "dirty-bitmap", handlers.bitmap_eos(), 1)
    main.start(4, "spapr/htab", handlers.htab_start(18), 1)
    main.start(5, "s390-storage_attributes", handlers.storage_attributes([]), 0)
    main.start(7, _VFIO, handlers.vfio_setup(), 1)

    main.start(3, "ram", ram.block_list(_entries(guest)), 4)
    main.part(3, _records(guest) + ram.eos())
    main.part(1, handlers.block_chunk("d0", 2048, None) + handlers.block_progress(50)
              + handlers.block_eos())  # fmt: skip
    main.part(
        2,
        handlers.bitmap_start("node", "bitmap")
        + handlers.bitmap_bits(0, 4096, b"\xaa" * 32, device="node", bitmap="bitmap")
        + handlers.bitmap_bits(4096, 4096, None)
        + handlers.bitmap_complete()
        + handlers.bitmap_eos(),
    )
    main.part(4, handlers.htab_part([(0, b"\x11" * 32, 3), (7, b"\x22" * 16, 0)]))
    main.part(5, handlers.storage_attributes([(0, b"\x01" * 24)]))
    main.part(7, handlers.vfio_part([b"initial" * 4], initial_data_sent=True))
    main.end(3, ram.eos())
    main.end(1, handlers.block_eos())
    main.end(2, handlers.bitmap_eos())
    main.end(4, handlers.htab_part([]))
    main.end(5, handlers.storage_attributes([(64, b"\x02" * 8)], done=True))
    main.end(7, handlers.vfio_part([b"device" * 9, handlers.slirp_like()]))
    config = handlers.vfio_config(b"\0" * 8 + b"configuration")
    main.device(vmdesc.old_style_device(_VFIO, len(config)), config, section_id=7)
    keys = handlers.storage_keys([(0, b"\x06" * 12)])
    main.device(vmdesc.old_style_device("s390-skeys", len(keys)), keys)
    main.standard_devices()
    return _one(main.finish())


def postcopy() -> Files:
    """ADVISE, DISCARD, a package, pages behind it."""
    guest = _guest()
    main = _begun("7.2")
    main.add(commands.open_return_path() + commands.ping(1))
    main.add(commands.postcopy_advise(_PAGE_LEN, _PAGE_LEN))
    main.ram_start(ram.block_list(_entries(guest, page_size=True)))
    main.ram_part(_records(guest))
    guest.stamp(_BLOCK, [2, 3], 1)
    main.add(commands.postcopy_ram_discard(_BLOCK, [(512, 512), (0, 256)]))
    main.add(_package(main))
    main.ram_part(_records(guest))
    main.ram_end()
    return _one(main.finish(describe=False))


def _package(main: MainStream) -> bytes:
    sections = b"".join(main.standard_sections("running"))
    body = commands.postcopy_listen() + sections + commands.ping(3) + commands.postcopy_run()
    return commands.packaged(body) + commands.ping(4)


def preempt() -> Files:
    """A channel of postcopy-preempt beside its main stream."""
    guest = _guest()
    main = _begun("10.0")
    main.add(commands.postcopy_advise(_PAGE_LEN, _PAGE_LEN))
    main.ram_start(ram.block_list(_entries(guest)))
    guest.take_dirty()
    main.add(_package(main))
    main.ram_end()
    urgent = ram.page(512, guest.page(_BLOCK, 2), _BLOCK) + ram.page(768, bytes([7]) * 256)
    return (*_one(main.finish(describe=False)), *_one(urgent + ram.eos()))


def recovery() -> Files:
    """A postcopy migration that broke inside a page and was resumed."""
    guest = _guest()
    main = _begun("10.0")
    main.add(commands.postcopy_advise(_PAGE_LEN, _PAGE_LEN))
    main.ram_start(ram.block_list(_entries(guest)))
    main.add(_package(main))
    left = guest.take_dirty()
    main.ram_part(ram.page(0, guest.page(_BLOCK, 1), _BLOCK) + ram.page(256, bytes(256)))
    broken = main.unfinished()[:-100]
    again = _begun("10.0")
    before = len(again.unfinished())
    for block in guest.lengths:
        again.add(commands.recv_bitmap(block))
    again.add(commands.postcopy_resume())
    pages = (ram.page(at * 256, guest.page(b, at), b) for b, at in left[:5])
    again.ram_part(b"".join(pages))
    again.ram_end()
    return (*_one(broken), *_one(again.finish(describe=False)[before:]))


def mapped(page_len: int = 4096, pages: int = 130, *, file_offset: int = 0) -> Files:
    """A mapped-ram file with two blocks."""
    content = bytes(range(256)) * (page_len // 256)
    blocks = [
        MappedBlock(_BLOCK, pages * page_len, {1: content, 70: content}),
        MappedBlock(_ROM, 3 * page_len, {2: content}, frozenset({1, 2})),
    ]
    head, rest = around_mapped_ram(page_size=page_len)
    return _one(
        mapped_ram.capture_bytes(head, blocks, rest, page_size=page_len, file_offset=file_offset)
    )


def mapped_small() -> Files:
    """A mapped-ram file of a target with the smallest pages."""
    return mapped(_PAGE_LEN, 80)


def mapped_behind() -> Files:
    """A mapped-ram file whose stream begins behind other bytes."""
    return mapped(1024, 80, file_offset=0x1000)


def _workload(page_len: int) -> Workload:
    guest = Guest({_BLOCK: 9 * page_len, _ROM: 2 * page_len}, page_len)

    def boot(running: Guest) -> None:
        for index in (1, 4, 5):
            running.fill(_BLOCK, [index], index)
        running.stamp(_ROM, [1])

    def again(running: Guest) -> None:
        running.fill(_BLOCK, [4], 0x44)
        running.fill(_BLOCK, [1])

    return Workload(guest, [boot, again], part_pages=6)


def multifd_set(generation: str, method: int, page_len: int = 4096) -> MigrationSet:
    """Build a small multifd migration."""
    return Sender(GENERATIONS[generation], _workload(page_len), method=method, channels=2).run()


def _set(generation: str, method: int) -> Callable[[], Files]:
    def build() -> Files:
        made = multifd_set(generation, method)
        return tuple(GappedFile(data) for data in (made.main, *made.channels))

    return build


def device_state() -> Files:
    """A multifd channel with packets of a VFIO device among those with pages."""
    sender = Sender(GENERATIONS["10.0"], _workload(4096), method=multifd.ZSTD, channels=1)
    sender.start()
    sender.main.start(7, _VFIO, handlers.vfio_setup(), 1)
    state = multifd.vfio_state(0, b"state" * 20)
    sender.channels[0].add(multifd.DeviceStatePacket(_VFIO, state).build())
    sender.complete()
    nothing = handlers.vfio_part([])
    sender.main.end(7, nothing)
    made = sender.finished()
    return tuple(GappedFile(data) for data in (made.main, *made.channels))


def described_devices() -> Files:
    """Devices described by nested structs, arrays, lists and subsections."""
    inner = described.layout(
        described.field("a", "uint8", 1), described.field("b", "uint16", 2), name="inner"
    )
    fields = [
        described.field("regs", "uint32", 4, array_len=3),
        described.field("part", "struct", 3, struct=inner),
        described.field("many", "struct", 3, array_len=2, struct=inner),
        described.field("flag", "bool", 1),
        described.field("missing", "nullptr", 1),
        described.field("data", "buffer", 10),
        described.field("big", "uint64", 8, index=1),
    ]
    sub = described.layout(described.field("extra", "int32", 4), name="dev/extra")
    body = (
        bytes(range(12)) + b"\1\2\3" + b"\4\5\6\7\x08\x09" + b"\1" + b"0" + b"0123456789" + bytes(8)
        + framing.subsection("dev/extra", b"\0\0\0\x2a")
    )  # fmt: skip
    device = described.device(*fields, subsections=[sub])
    return _one(described.stream(body, device))


def cut_and_salvaged_mark() -> Files:
    """A stream with the section that `qmig salvage` leaves."""
    guest = _guest()
    main = _begun("10.0", guest)
    main.ram_part(_records(guest))
    mark = bytes.fromhex("0000000100000000000010000000000100000001")
    mark += be32(4) + b"file" + be32(5) + b"error"
    mark += counted(_BLOCK) + be64(3) + be64(9) + be32(1)
    mark += be64(3) + be64(9) + counted("timer") + be32(0)
    main.device(vmdesc.old_style_device("qmig/salvaged", len(mark)), mark)
    return _one(_ended(main))


def lzop(data: bytes) -> bytes:
    """Compress as lzop does."""
    packer = LzopCompressor()
    return packer.compress(data) + packer.flush()


def _zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=1).compress(data)


def _xz(data: bytes) -> bytes:
    return lzma.compress(data, preset=0)


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data, 1, mtime=0)


WRAPPERS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "gzip": _gzip,
    "bzip2": bz2.compress,
    "xz": _xz,
    "zstd": _zstd,
    "lzop": lzop,
}
_FORMATS: Final = {
    "gzip": libvirt.Format.GZIP,
    "bzip2": libvirt.Format.BZIP2,
    "xz": libvirt.Format.XZ,
    "zstd": libvirt.Format.ZSTD,
    "lzop": libvirt.Format.LZOP,
}


def image(stream: bytes, fmt: libvirt.Format, **more: Any) -> bytes:  # noqa: ANN401  # image's own
    """Put a stream into a libvirt image with little padding."""
    return libvirt.image(DOMAIN, stream, cookie=COOKIE, fmt=fmt, padding_len=32, **more)


def _wrapped(wrap: Callable[[bytes], bytes]) -> Callable[[], Files]:
    return lambda: _one(wrap(_rounds("10.0")))


def _in_image(fmt: libvirt.Format, wrap: Callable[[bytes], bytes]) -> Callable[[], Files]:
    return lambda: _one(image(wrap(_rounds("10.0")), fmt))


def libvirt_raw() -> Files:
    """A libvirt image, raw, from a big-endian host."""
    return _one(image(_rounds("10.0"), libvirt.Format.RAW, big_endian=True))


def libvirt_unfinished() -> Files:
    """A libvirt image that was not finished."""
    return _one(image(b"", libvirt.Format.RAW, magic=libvirt.PARTIAL_MAGIC))


def libvirt_sparse() -> Files:
    """A libvirt image around a mapped-ram file."""
    head = image(b"", libvirt.Format.SPARSE)
    (file,) = mapped(file_offset=len(head))
    return (GappedFile(head + file.data[len(head) :], file.gaps),)


def mapped_in_zstd() -> Files:
    """A mapped-ram file that was compressed."""
    (file,) = mapped(_PAGE_LEN, 80)
    whole = bytearray(file.length)
    for offset, piece in file.pieces():
        whole[offset : offset + len(piece)] = piece
    return _one(_zstd(bytes(whole)))


_METHODS: Final = {
    "none": multifd.NOCOMP,
    "zlib": multifd.ZLIB,
    "zstd": multifd.ZSTD,
    "qpl": multifd.QPL,
    "uadk": multifd.UADK,
    "qatzip": multifd.QATZIP,
}
# Each generation with pages as they are, and each method with a generation that has it.
_SETS: Final = [
    *((generation, "none") for generation in GENERATIONS),
    ("5.2", "zlib"), ("7.2", "zstd"), ("9.2", "zlib"), ("10.0", "zstd"), ("10.0", "qpl"),
    ("10.0", "uadk"), ("10.0", "qatzip"),
]  # fmt: skip

BUILDERS: Final[Mapping[str, Callable[[], Files]]] = {
    made.__name__: made
    for made in (
        ordinary, fill_bytes, compressed_pages, xbzrle, hooks, configured, no_footers,
        no_description, no_ram, live_handlers, postcopy, preempt, recovery, mapped, mapped_small,
        mapped_behind, device_state, described_devices, cut_and_salvaged_mark, libvirt_raw,
        libvirt_unfinished, libvirt_sparse, mapped_in_zstd,
    )
} | {
    f"multifd {generation} {method}": _set(generation, _METHODS[method])
    for generation, method in _SETS
} | {
    name: _wrapped(wrap) for name, wrap in WRAPPERS.items()
} | {
    f"libvirt {name}": _in_image(fmt, WRAPPERS[name]) for name, fmt in _FORMATS.items()
}  # fmt: skip


def built() -> Iterator[tuple[str, Files]]:
    """Yield name and files of every small capture."""
    for name, build in BUILDERS.items():
        yield name, build()
