"""What a file is: told from its content, with a line that says so where it is no stream."""

import gzip
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import qmig
from qmig.capture.container import Role, open_container
from qmig.errors import (
    LimitExceededError,
    MalformedStreamError,
    SourceError,
    StreamError,
    TruncatedStreamError,
    UnsupportedStreamError,
)
from qmig.limits import MAX_LIBVIRT_DATA_LEN
from tests.builders import libvirt, multifd
from tests.builders.machine import MainStream
from tests.builders.ram import BlockEntry, block_list, zero
from tests.conftest import CaptureFiles
from tests.corpus import FIXTURES

OPEN_FILES = Path("/proc/self/fd")


def small_stream(*, describe: bool = True) -> bytes:
    stream = MainStream("10.0", "pc-i440fx-10.0")
    stream.ram_start(block_list([BlockEntry("pc.ram", 8192)]))
    stream.ram_end(zero(0, "pc.ram") + zero(4096))
    stream.standard_devices()
    return stream.finish(describe=describe)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "vm.sav"


ROLES = {"main": Role.MAIN, "container": Role.MAIN, "channel": Role.CHANNEL,
         "preempt": Role.PREEMPT, "recovery": Role.RECOVERY}  # fmt: skip


@pytest.mark.parametrize("name", FIXTURES)
def test_roles_are_found_from_content_in_any_order(name: str, capture_files: CaptureFiles) -> None:
    files = capture_files(name)
    expected = {
        str(path): ROLES[file.role] for file, path in zip(FIXTURES[name].files, files, strict=True)
    }
    with qmig.open_capture(*reversed(files)) as capture:
        assert {container.path: container.role for container in capture.files} == expected


@pytest.mark.parametrize(
    ("cover", "layers"),
    [
        ("container:libvirt-raw", ["libvirt"]),
        ("container:libvirt-gzip", ["libvirt", "gzip"]),
        ("container:libvirt-bzip2", ["libvirt", "bzip2"]),
        ("container:libvirt-xz", ["libvirt", "xz"]),
        ("container:libvirt-lzop", ["libvirt", "lzop"]),
        ("container:libvirt-zstd", ["libvirt", "zstd"]),
        ("container:libvirt-sparse", ["libvirt"]),
        ("container:gzip", ["gzip"]),
        ("container:bzip2", ["bzip2"]),
        ("container:xz", ["xz"]),
        ("container:zstd", ["zstd"]),
    ],
)
def test_layers_are_told(cover: str, layers: list[str], capture_files: CaptureFiles) -> None:
    names = [name for name, fixture in FIXTURES.items() if cover in fixture.covers]
    assert names
    for name in names:
        with qmig.open_capture(*capture_files(name)) as capture:
            assert capture.main is not None
            assert capture.main.layers == layers
            assert capture.main.compressed == (layers[-1] != "libvirt")
            if layers[0] == "libvirt":
                image = capture.main.libvirt
                assert image is not None
                assert cover.endswith(image.format_name)
                assert image.partial == ("partial" in name)
                assert image.big_endian == ("big-endian" in name)
                assert image.xml.startswith(b"<domain")


FOREIGN = {
    "ELF": b"\x7fELF\x02\x01\x01",
    "qcow2": b"QFI\xfb\x00\x00\x00\x03",
    "kdump": b"KDUMP   \x06",
    "CPR": b"QCPR\x00\x00\x00\x01",
    "LiME": b"EMiL\x01",
    "VMDK": b"KDMV\x01",
    "zip": b"PK\x03\x04",
    "XML": b"<?xml version='1.0'?>",
    "domain XML": b"<domain type='kvm'>",
    "lz4": b"\x04\x22\x4d\x18",
    "pcap": b"\xd4\xc3\xb2\xa1",
    "TLS": b"\x16\x03\x01\x02\x00",
    "text": b"hello, world\n",
    "zeros": b"\0",
    "unknown data": b"\x01\x02\x03\x80\x99",
}


@pytest.mark.parametrize("what", FOREIGN)
@pytest.mark.parametrize("length", [64, 5000])
def test_another_kind_of_file_is_named(what: str, length: int, file: Path) -> None:
    filler = b"a" if what in ("text", "XML", "domain XML") else b"\0"
    file.write_bytes(FOREIGN[what] + filler * length)
    with pytest.raises(SourceError) as caught:
        qmig.open_capture(file)
    text = str(caught.value)
    assert text.startswith(f"{file}: ")
    assert what in text
    assert "\n" not in text


def test_an_empty_file_and_a_folder_are_named(file: Path) -> None:
    file.write_bytes(b"")
    with pytest.raises(SourceError, match="an empty file"):
        qmig.open_capture(file)
    with pytest.raises(SourceError, match="is a directory"):
        qmig.open_capture(file.parent)
    with pytest.raises(SourceError, match="No such file"):
        qmig.open_capture(file.parent / "absent")


def test_archives_are_named(file: Path) -> None:
    member = file.parent / "member"
    member.write_bytes(b"no stream")
    with tarfile.open(file, "w") as tar:
        tar.add(member)
    with pytest.raises(SourceError, match="tar archive"):
        qmig.open_capture(file)
    with zipfile.ZipFile(file, "w") as archive:
        archive.write(member)
    with pytest.raises(SourceError, match="zip archive"):
        qmig.open_capture(file)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_the_beginning_of_a_stream_is_named(length: int, file: Path) -> None:
    file.write_bytes(small_stream()[:length])
    with pytest.raises(SourceError, match=f"first {length} bytes of a migration stream"):
        qmig.open_capture(file)
    file.write_bytes(libvirt.MAGIC[: length + 4])
    with pytest.raises(SourceError, match=f"first {length + 4} bytes of a libvirt save image"):
        qmig.open_capture(file)


@pytest.mark.parametrize("front", [b"\0" * 512, b"\0" * (3 << 20), b"# not a stream\n" * 999])
def test_a_stream_behind_other_bytes_is_found(front: bytes, file: Path) -> None:
    file.write_bytes(front + small_stream())
    with qmig.open_capture(file) as capture:
        assert capture.main is not None
        assert capture.main.stream_offset == len(front)
        assert capture.errors == []
    with qmig.open_capture(file, offset=len(front)) as capture:
        assert capture.main is not None
        assert capture.main.spans == []
        assert capture.errors == []


def test_padding_and_other_bytes_behind_are_reported(file: Path) -> None:
    for behind, zeros in ((bytes(5000), True), (b"COLO" * 100, False)):
        file.write_bytes(small_stream() + behind)
        with qmig.open_capture(file) as capture:
            assert capture.errors == []
            trailing = capture.stream.trailing
            assert trailing is not None
            assert (trailing.offset, trailing.length) == (len(small_stream()), len(behind))
            assert trailing.zeros is zeros


def nested(stream: bytes, layers: int) -> bytes:
    for _ in range(layers):
        stream = gzip.compress(stream)
    return stream


def test_wrappers_inside_wrappers_are_peeled_up_to_a_limit(file: Path) -> None:
    file.write_bytes(nested(small_stream(), 3))
    with qmig.open_capture(file) as capture:
        assert capture.main is not None
        assert capture.main.layers == ["gzip"] * 3
        assert capture.errors == []
    image = libvirt.image("<domain/>", small_stream())
    file.write_bytes(gzip.compress(image))
    with qmig.open_capture(file) as capture:
        assert capture.main is not None
        assert capture.main.layers == ["gzip", "libvirt"]
        assert capture.errors == []
    file.write_bytes(nested(small_stream(), 6))
    with pytest.raises(UnsupportedStreamError, match="at most"):
        qmig.open_capture(file)


def opened_image(file: Path, data: bytes) -> StreamError:
    file.write_bytes(data)
    with pytest.raises(StreamError) as caught:
        qmig.open_capture(file)
    return caught.value


def test_libvirt_headers_that_are_not_legal_are_located(file: Path) -> None:
    stream = small_stream()
    wrong = opened_image(file, libvirt.image("<domain/>", stream, version=3))
    assert isinstance(wrong, MalformedStreamError)
    assert (wrong.offset, wrong.field) == (16, "version")
    wrong = opened_image(file, libvirt.header(0) + stream)
    assert (wrong.offset, wrong.field) == (20, "data_len")
    wrong = opened_image(file, libvirt.header(MAX_LIBVIRT_DATA_LEN + 1) + stream)
    assert isinstance(wrong, LimitExceededError)
    assert (wrong.offset, wrong.field) == (20, "data_len")
    wrong = opened_image(file, libvirt.image("<domain/>", stream, fmt=7))
    assert (wrong.offset, wrong.field) == (28, "format")
    wrong = opened_image(file, libvirt.image("<domain/>", b"")[:200])
    assert isinstance(wrong, TruncatedStreamError)
    wrong = opened_image(file, libvirt.image("<domain/>", b"no stream at all"))
    assert wrong.expected == "QEVM"
    partial = libvirt.image("<domain/>", b"", magic=libvirt.PARTIAL_MAGIC)
    assert "not finished" in str(opened_image(file, partial))


@pytest.mark.parametrize("cookie", [None, "<cookie/>"])
@pytest.mark.parametrize("padding_len", [0, 1, 4000])
@pytest.mark.parametrize("big_endian", [False, True])
def test_libvirt_data_is_cut_into_its_parts(
    cookie: str | None, padding_len: int, big_endian: bool, file: Path
) -> None:
    data = libvirt.image(
        "<domain type='kvm'/>", small_stream(), cookie=cookie, padding_len=padding_len,
        big_endian=big_endian, was_running=1,
    )  # fmt: skip
    file.write_bytes(data)
    with qmig.open_capture(file) as capture:
        assert capture.main is not None
        image = capture.main.libvirt
        assert image is not None
        assert image.xml == b"<domain type='kvm'/>"
        assert image.cookie == (cookie.encode() if cookie else None)
        assert image.padding_len == padding_len
        assert image.big_endian is big_endian
        assert image.header.was_running == 1
        assert capture.errors == []
        assert sum(span.length for span in capture.main.spans) == len(data) - len(small_stream())


def test_sets_of_files_are_checked(file: Path) -> None:
    other = file.with_name("other")
    file.write_bytes(small_stream())
    other.write_bytes(small_stream())
    with pytest.raises(SourceError, match="is a main stream, and so is"):
        qmig.open_capture(file, other)
    other.write_bytes(multifd.init_packet(0))
    with qmig.open_capture(other) as capture:
        assert capture.main is None
        with pytest.raises(SourceError, match="main stream is missing"):
            _ = capture.ram
    with pytest.raises(ValueError, match="no file"):
        qmig.open_capture()
    for size in (0, 128, 4095, 131072):
        with pytest.raises(ValueError, match="power of two"):
            qmig.open_capture(file, page_size_len=size)


def test_all_files_are_closed_where_one_cannot_be_opened(file: Path) -> None:
    file.write_bytes(small_stream())
    before = len([*OPEN_FILES.iterdir()])
    for _ in range(20):
        with pytest.raises(SourceError):
            qmig.open_capture(file, file.parent)
    assert len([*OPEN_FILES.iterdir()]) == before


def test_a_stream_on_standard_input_is_read(file: Path) -> None:
    script = (
        "import qmig\n"
        "with qmig.open_capture('-') as capture:\n"
        "    print([row.idstr for row in capture.stream.sections.rows], capture.errors)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], input=small_stream(), capture_output=True, check=True
    )
    assert done.stdout.decode() == "['ram', 'ram', 'timer', 'globalstate'] []\n"


def test_a_container_gives_back_what_it_holds(file: Path) -> None:
    file.write_bytes(gzip.compress(small_stream()))
    before = len([*OPEN_FILES.iterdir()])
    container = open_container(file, keep_all=True)
    assert container.source.seekable
    assert container.source.read_at(0, 4) == b"QEVM"
    container.close()
    assert len([*OPEN_FILES.iterdir()]) == before
