"""libvirt images as they are written, held against libvirt's own, qmig's reader and the tools."""

import hashlib
import os
import shutil
import subprocess
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import qmig
from fixtures.catalogue import Truth
from qmig.capture.container import LibvirtImage as ReadImage
from qmig.capture.container import open_container
from qmig.errors import WriterError
from qmig.limits import MAX_LIBVIRT_DATA_LEN, MAX_LZOP_BLOCK_LEN, MIB
from qmig.migrate.compress import COMPRESSED_FORMATS, CompressedSink
from qmig.migrate.libvirt_image import LibvirtImage
from qmig.migrate.output import AtomicFile
from qmig.wire.libvirt import QemuSaveFormat
from qmig.wire.magic import QEMU_SAVE_PARTIAL
from tests.conftest import CaptureFiles
from tests.corpus import FIXTURES

if TYPE_CHECKING:
    from typing_extensions import Buffer

XML = b"<domain type='qemu'>\n  <name>tiny</name>\n</domain>\n"
WHOLE = [
    name
    for name, fixture in FIXTURES.items()
    if fixture.origin == "libvirt" and "container:libvirt-partial" not in fixture.covers
]
RAW = "libvirt-12-raw"
PIECE_LEN = 70_001

each_codec = pytest.mark.parametrize(
    "codec", [pytest.param(kind, id=kind.name.lower()) for kind in sorted(COMPRESSED_FORMATS)]
)


def read_image(path: Path) -> ReadImage:
    container = open_container(path)
    container.close()
    assert container.libvirt is not None
    return container.libvirt


def image_like(read: ReadImage, save_format: QemuSaveFormat) -> LibvirtImage:
    return LibvirtImage(
        read.xml,
        cookie=read.cookie,
        was_running=bool(read.header.was_running),
        save_format=save_format,
    )


def write_image(out: Path, image: LibvirtImage, stream: bytes) -> None:
    with AtomicFile(out) as file:
        sink = image.begin(file)
        start = sink.position
        for at in range(0, len(stream), PIECE_LEN):
            sink.pwrite(stream[at : at + PIECE_LEN], start + at)
        image.finish()
        file.commit()


def require_truth(path: Path, truth: Truth | None) -> None:
    assert truth is not None
    with qmig.open_capture(path) as capture:
        assert capture.errors == []
        for name, block in truth.blocks.items():
            for part in block.ranges:
                data = capture.ram[name].read(part.addr, part.length)
                assert hashlib.sha256(data).hexdigest() == part.sha256


@pytest.mark.parametrize("name", WHOLE)
def test_front_is_that_of_libvirt(name: str, capture_files: CaptureFiles, tmp_path: Path) -> None:
    """Header, XML, cookie and padding, byte for byte, from what the reader found in them."""
    (path,) = capture_files(name)
    read = read_image(path)
    image = image_like(read, QemuSaveFormat(read.header.format))
    with AtomicFile(tmp_path / "out") as file:
        image.begin(file)
        image.finish()
        file.commit()
    with path.open("rb") as original:
        expected = original.read(image.stream_offset)
    assert (tmp_path / "out").read_bytes()[: image.stream_offset] == expected


@pytest.mark.parametrize("name", [RAW, "libvirt-12-running", "libvirt-12-sparse"])
def test_image_is_that_of_libvirt(name: str, capture_files: CaptureFiles, tmp_path: Path) -> None:
    (path,) = capture_files(name)
    read = read_image(path)
    image = image_like(read, QemuSaveFormat(read.header.format))
    data = path.read_bytes()
    with AtomicFile(tmp_path / "out") as file:
        assert image.begin(file) is file
        assert file.position == image.stream_offset
        file.pwrite(data[image.stream_offset :], image.stream_offset)
        image.finish()
        file.commit()
    assert (tmp_path / "out").read_bytes() == data


@each_codec
def test_wrapped_stream_reads_as_before(
    codec: QemuSaveFormat, capture_files: CaptureFiles, tmp_path: Path
) -> None:
    (path,) = capture_files(RAW)
    read = read_image(path)
    raw = image_like(read, QemuSaveFormat.RAW)
    stream = path.read_bytes()[raw.stream_offset :]
    out = tmp_path / "out"
    write_image(out, image_like(read, codec), stream)
    written = read_image(out)
    assert (written.xml, written.cookie, written.partial) == (read.xml, read.cookie, False)
    assert written.format_name == codec.name.lower()
    assert out.stat().st_size < path.stat().st_size
    require_truth(out, FIXTURES[RAW].truth)
    require_truth(path, FIXTURES[RAW].truth)


def test_unfinished_image_says_so(capture_files: CaptureFiles, tmp_path: Path) -> None:
    (path,) = capture_files(RAW)
    image = image_like(read_image(path), QemuSaveFormat.RAW)
    stream = path.read_bytes()[image.stream_offset :]
    with AtomicFile(tmp_path / "out") as file:
        image.begin(file).append(stream)
        file.commit()  # in place, though `finish` was forgotten
    assert (tmp_path / "out").read_bytes().startswith(QEMU_SAVE_PARTIAL)
    assert read_image(tmp_path / "out").partial


class Pipe:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.data = bytearray()

    @property
    def position(self) -> int:
        return len(self.data)

    def append(self, data: "Buffer") -> None:
        self.data += data


def compress(codec: QemuSaveFormat, data: bytes, piece_len: int) -> bytes:
    pipe = Pipe()
    sink = CompressedSink(pipe, codec)
    for at in range(0, len(data), piece_len):
        sink.append(data[at : at + piece_len])
    assert sink.position == len(data)
    sink.finish()
    return bytes(pipe.data)


SAMPLES: dict[str, Callable[[], bytes]] = {
    "nothing": bytes,
    "one byte": lambda: b"x",
    "one block": lambda: bytes(MAX_LZOP_BLOCK_LEN),
    "one byte more": lambda: bytes(MAX_LZOP_BLOCK_LEN) + b"x",
    "random": lambda: np.random.default_rng(1).bytes(600_000),
    "mixed": lambda: b"".join(
        (bytes(4096), random_page, b"page" * 1024)[ord(random_page[:1]) % 3]
        for random_page in (np.random.default_rng(seed).bytes(4096) for seed in range(300))
    ),
}
TESTERS = {
    QemuSaveFormat.GZIP: "gzip",
    QemuSaveFormat.BZIP2: "bzip2",
    QemuSaveFormat.XZ: "xz",
    QemuSaveFormat.LZOP: "lzop",
    QemuSaveFormat.ZSTD: "zstd",
}


@each_codec
@pytest.mark.parametrize("sample", SAMPLES)
def test_tools_unpack_what_is_packed(codec: QemuSaveFormat, sample: str) -> None:
    """As libvirt calls them, `TOOL -dc`; and `-t`, which is the tool's own judgement."""
    tool = shutil.which(TESTERS[codec])
    if tool is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI installs {TESTERS[codec]}")
        pytest.skip(f"{TESTERS[codec]} is not installed")
    data = SAMPLES[sample]()
    for piece_len in (4096 + 7, 10 * MIB):
        packed = compress(codec, data, piece_len)
        done = subprocess.run([tool, "-dc"], input=packed, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout == data
        tested = subprocess.run([tool, "-t"], input=packed, capture_output=True, check=False)
        assert tested.returncode == 0, tested.stderr


@each_codec
def test_tools_notice_damage(codec: QemuSaveFormat) -> None:
    """Each format has a checksum of the plain data, which the tools hold against it."""
    tool = shutil.which(TESTERS[codec])
    if tool is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI installs {TESTERS[codec]}")
        pytest.skip(f"{TESTERS[codec]} is not installed")
    packed = bytearray(compress(codec, np.random.default_rng(3).bytes(500_000), MIB))
    packed[300_000] ^= 1
    done = subprocess.run([tool, "-t"], input=packed, capture_output=True, check=False)
    assert done.returncode != 0


@each_codec
def test_memory_does_not_grow(codec: QemuSaveFormat) -> None:
    """Only what Python allocates is seen; the libraries' own memory depends on their level."""

    class Nowhere:
        position = 0

        def append(self, data: "Buffer") -> None:
            self.position += memoryview(data).nbytes

    def peak_len(pieces: int) -> int:
        sink = CompressedSink(Nowhere(), codec)
        piece = os.urandom(64 * 1024) + bytes(MIB - 64 * 1024)
        tracemalloc.start()
        for _ in range(pieces):
            sink.append(piece)
        sink.finish()
        peak: int = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak_len(1)
    assert peak_len(12) <= peak_len(3) + MIB


@pytest.mark.parametrize(
    ("xml", "cookie", "message"),
    [
        (b"", None, "the XML is empty"),
        (b"<a>\0</a>", None, "the XML has a NUL at its byte 3"),
        (XML, b"", "the cookie is empty"),
        (XML, b"\0", "the cookie has a NUL at its byte 0"),
        (b"x" * MAX_LIBVIRT_DATA_LEN, None, "is what a reader believes"),
    ],
)
def test_data_that_no_image_can_hold(xml: bytes, cookie: bytes | None, message: str) -> None:
    with pytest.raises(WriterError, match=message):
        LibvirtImage(xml, cookie=cookie)


def test_longest_data_reads_back(tmp_path: Path) -> None:
    padding_len = MAX_LIBVIRT_DATA_LEN - len(XML) - 1
    image = LibvirtImage(XML, padding_len=padding_len)
    write_image(tmp_path / "out", image, bytes.fromhex("5145564d 00000003 00"))
    read = read_image(tmp_path / "out")
    assert (read.xml, read.cookie, read.padding_len) == (XML, None, padding_len)


def test_calls_out_of_order_are_refused(tmp_path: Path) -> None:
    image = LibvirtImage(XML)
    with pytest.raises(WriterError, match="finished before it was begun"):
        image.finish()
    with AtomicFile(tmp_path / "out") as file:
        file.append(b"x")
        with pytest.raises(WriterError, match="begins where its file begins"):
            image.begin(file)


@each_codec
def test_compressed_stream_has_no_way_back(codec: QemuSaveFormat) -> None:
    sink = CompressedSink(Pipe(), codec)
    sink.pwrite(b"1234", 0)
    with pytest.raises(WriterError, match="only goes forwards and stands at 0x00000004"):
        sink.pwrite(b"5678", 0)
