"""What a QEMU must set to load a capture, for each kind of it."""

from pathlib import Path

import pytest

import qmig
from qmig.capture.incoming import incoming, quoted
from qmig.capture.mapped import count_set_pages
from qmig.capture.requirements import Kind, memory_size, requirements
from tests.conftest import CaptureFiles
from tests.corpus import FIXTURES

Asked = dict[tuple[str, str], bool | int | str | None]


def asked_of(paths: list[Path]) -> Asked:
    with qmig.open_capture(*paths) as capture:
        asks = requirements(capture)
    assert all(ask.reason for ask in asks)
    return {(ask.kind.value, ask.name): ask.value for ask in asks}


def uri_of(paths: list[Path]) -> str | None:
    with qmig.open_capture(*paths) as capture:
        return incoming(capture).uri


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "qemu-10.0-ordinary",
            {
                ("option", "-M"): "pc-i440fx-10.0",
                ("option", "-m"): "4M",
                ("release", "QEMU"): "10.0 or newer",
            },
        ),
        (
            "qemu-10.0-mapped-plain",
            {
                ("capability", "mapped-ram"): True,
                ("option", "-M"): "pc-i440fx-10.0",
                ("option", "-m"): "4M",
                ("release", "QEMU"): "10.0 or newer",
            },
        ),
        (
            "qemu-7.2-multifd-zstd",
            {
                ("capability", "multifd"): True,
                ("parameter", "multifd-channels"): 2,
                ("parameter", "multifd-compression"): "zstd",
                ("option", "-M"): "pc-i440fx-7.2",
                ("option", "-m"): "4M",
                ("release", "QEMU"): "7.2 or newer",
            },
        ),
        (
            "qemu-3.1-multifd",
            {
                ("capability", "x-multifd"): True,
                ("parameter", "x-multifd-channels"): 2,
                ("option", "-M"): "pc-i440fx-3.1",
                ("option", "-m"): "4M",
                ("release", "QEMU"): "3.1",
            },
        ),
        (
            "qemu-7.2-compress",
            {
                ("capability", "compress"): True,
                ("option", "-M"): "pc-i440fx-7.2",
                ("option", "-m"): "4M",
                ("release", "QEMU"): "7.2 to 9.0",
            },
        ),
        (
            "qemu-10.0-xbzrle",  # the destination sets nothing for it
            {
                ("option", "-M"): "pc-i440fx-10.0",
                ("option", "-m"): "4M",
                ("release", "QEMU"): "10.0 or newer",
            },
        ),
        (
            "handmade-ram-flush-without-multifd",  # 8.1 wrote the words into any stream
            {
                ("option", "-M"): "pc-i440fx-8.1",
                ("option", "-m"): "384K",
                ("release", "QEMU"): "8.1 or newer",
            },
        ),
        (
            "qemu-10.0-dirty-bitmap",
            {
                ("capability", "dirty-bitmaps"): True,
                ("option", "-M"): "pc-i440fx-10.0",
                ("option", "-m"): "4M",
                ("release", "QEMU"): "10.0 or newer",
            },
        ),
    ],
)
def test_all_that_is_asked(name: str, expected: Asked, capture_files: CaptureFiles) -> None:
    assert asked_of(capture_files(name)) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("qemu-10.0-multifd-each-section", "on"),
        ("qemu-11.1-multifd-each-section", "on"),
        ("qemu-10.1-multifd-flusheach", None),  # a machine type of 8.0 has it on
        ("qemu-10.0-multifd-none", None),
        ("qemu-10.0-multifd-old-machine", None),  # its machine type has it on
        ("qemu-7.2-multifd-none", None),  # QEMU 7.2 knows no other way
    ],
)
def test_sync_property(name: str, value: str | None, capture_files: CaptureFiles) -> None:
    asked = asked_of(capture_files(name))
    assert asked.get(("property", "multifd-flush-after-each-section")) == value


def test_sync_property_is_off_where_an_old_machine_type_has_it_on(
    capture_files: CaptureFiles, tmp_path: Path
) -> None:
    main, *channels = capture_files("qemu-10.0-multifd-none")
    renamed = tmp_path / "main"
    data = main.read_bytes()
    assert data.count(b"pc-i440fx-10.0", 0, 100) == 1
    renamed.write_bytes(data.replace(b"pc-i440fx-10.0", b"pc-i440fxx-8.0", 1))
    asked = asked_of([renamed, *channels])
    assert asked["property", "multifd-flush-after-each-section"] == "off"


def test_words_of_a_main_stream_alone_ask_for_multifd(capture_files: CaptureFiles) -> None:
    for name in ("qemu-10.0-multifd-none", "qemu-5.2-multifd-none", "qemu-3.1-multifd"):
        roles = [file.role for file in FIXTURES[name].files]
        main = capture_files(name)[roles.index("main")]
        asked = asked_of([main])
        assert asked["capability", "multifd"] is True
        assert asked["parameter", "multifd-channels"] is None


def test_return_path_cannot_come_from_a_file(capture_files: CaptureFiles) -> None:
    for name in ("qemu-10.0-return-path", "qemu-10.0-postcopy"):
        paths = capture_files(name)
        assert (Kind.TRANSPORT.value, "return path") in asked_of(paths)
        assert uri_of(paths) is None
    assert ("transport", "return path") not in asked_of(capture_files("qemu-10.0-ordinary"))


@pytest.mark.parametrize(
    ("name", "uri"),
    [
        ("qemu-10.0-ordinary", "exec:cat {}"),
        ("qemu-10.0-mapped-plain", "file:{}"),
        ("qemu-10.0-mapped-offset", "file:{},offset=12288"),
        ("qemu-10.0-exec-gzip", "exec:gzip -dc {}"),
        ("qemu-10.0-exec-zstd", "exec:zstd -dc {}"),
        ("libvirt-12-raw", "exec:tail -c +{start} {}"),
        ("libvirt-12-xz", "exec:tail -c +{start} {} | xz -dc"),
        ("libvirt-12-sparse", "file:{},offset={begin}"),
        ("libvirt-12-partial", None),
        ("qemu-10.0-multifd-none", None),
    ],
)
def test_uri(name: str, uri: str | None, capture_files: CaptureFiles) -> None:
    paths = capture_files(name)
    data = paths[0].read_bytes()
    begin = int.from_bytes(data[20:24], "little") + 92  # libvirt: header and data_len
    expected = uri and uri.format(paths[0], start=begin + 1, begin=begin)
    assert uri_of(paths) == expected


def test_libvirt_images_are_for_virsh(capture_files: CaptureFiles) -> None:
    (path,) = capture_files("libvirt-12-zstd")
    with qmig.open_capture(path) as capture:
        assert incoming(capture).virsh == f"virsh restore {path}"
    with qmig.open_capture(*capture_files("libvirt-12-partial")) as capture:
        assert incoming(capture).virsh is None


def test_paths_are_quoted_for_the_shell() -> None:
    assert quoted("/a/b-c_d.sav") == "/a/b-c_d.sav"
    assert quoted("a b; rm c") == "'a b; rm c'"


def test_memory_size_as_qemu_takes_it() -> None:
    assert [memory_size(n) for n in (1 << 32, 3 << 20, 1536 << 20, 8 << 10, 100)] == [
        "4G",
        "3M",
        "1536M",
        "8K",
        "100B",
    ]


def test_pages_set_are_counted_like_the_bitmap_says(capture_files: CaptureFiles) -> None:
    for name in ("qemu-10.0-mapped-live", "qemu-10.0-avr-mapped", "libvirt-12-sparse"):
        (path,) = capture_files(name)
        data = path.read_bytes()
        with qmig.open_capture(path) as capture:
            total = 0
            for block in capture.blocks:
                layout = block.mapped
                assert layout is not None
                pages = block.used_length // layout.header.page_size
                at = layout.header.bitmap_offset
                bits = [data[at + i // 8] >> (i % 8) & 1 for i in range(pages)]
                assert count_set_pages(capture.stream.source, layout, pages) == sum(bits)
                total += sum(bits)
        assert total > 0


def test_a_cut_bitmap_is_no_count(capture_files: CaptureFiles, tmp_path: Path) -> None:
    (path,) = capture_files("qemu-10.0-mapped-plain")
    cut = tmp_path / "cut"
    with qmig.open_capture(path) as capture:
        layout = capture.blocks[0].mapped
        assert layout is not None
    cut.write_bytes(path.read_bytes()[: layout.header.bitmap_offset + 10])
    with qmig.open_capture(cut) as capture, pytest.raises(qmig.TruncatedStreamError):
        count_set_pages(capture.stream.source, layout, 1024)
