"""The layer that Volatility gets of a capture, held against what is in the capture."""

import copy
import gc
import hashlib
import pickle
import weakref
from pathlib import Path
from typing import Any

import pytest

import qmig
from qmig.volatility.guest import GuestRequest, open_guest
from tests.conftest import CaptureFiles
from tests.corpus import FIXTURES
from tests.export.test_fixtures import PHYSICAL, physical, shown
from tests.volatility import guest
from tests.volatility.stacked import Stacks, kinds

SIZE = guest.SIZE
Layer = Any  # Volatility has no types


@pytest.fixture
def with_gaps(tmp_path: Path) -> Path:
    path = tmp_path / "with gaps #1.mig"  # a name that is another one in a URL
    path.write_bytes(guest.stream())
    return path


@pytest.fixture
def layer(stack: Stacks, with_gaps: Path) -> Layer:
    layers = stack(with_gaps)
    assert kinds(layers) == ["QmigLayer", "FileLayer"]
    return layers[0]


def invalid() -> type[Exception]:
    from volatility3.framework.exceptions import InvalidAddressException

    kind: type[Exception] = InvalidAddressException
    return kind


@pytest.mark.parametrize("name", PHYSICAL)
def test_memory_equals_what_qemu_said(
    name: str, capture_files: CaptureFiles, stack: Stacks
) -> None:
    fixture, (main, *others) = FIXTURES[name], capture_files(name)
    assert fixture.truth is not None
    with qmig.open_capture(main, *others) as capture:
        whole = not capture.errors
    layer, below = stack(main, others)[-2:]
    assert kinds([below]) == ["FileLayer"]
    if not whole:
        assert kinds([layer]) == ["QmigRefusedLayer"]
        return
    layout = layer.context.layers[layer.name]._guest.memory.layout
    compared = 0
    for start, end in physical(fixture):
        block, addr = shown(layout, start, end)
        for item in fixture.truth.blocks[block].ranges:
            at = start + item.addr - addr
            if start <= at and at + item.length <= end and layer.is_valid(at, item.length):
                data = layer.read(at, item.length)
                assert hashlib.sha256(data).hexdigest() == item.sha256
                compared += 1
    assert compared


def test_reads_of_all_lengths_equal_the_pages(layer: Layer) -> None:
    whole = b"".join(guest.page_content(page) for page in range(guest.PAGES))
    first, behind = 5 * SIZE, 20 * SIZE  # pages that are all there
    for length in (1, 8, 4095, 4096, 4097, 5 * SIZE + 3):
        for at in range(first, behind - length, 1777):
            assert layer.read(at, length) == whole[at : at + length], (at, length)


@pytest.mark.parametrize(
    ("at", "length", "wrong"),
    [
        (3 * SIZE, 1, 3 * SIZE),
        (2 * SIZE, SIZE + 1, 3 * SIZE),
        (4 * SIZE + 5, SIZE, 4 * SIZE + 5),
        (0, guest.PAGES * SIZE, 3 * SIZE),
        (guest.PAGES * SIZE - 1, 2, guest.PAGES * SIZE),
        (guest.PAGES * SIZE, 1, guest.PAGES * SIZE),
        (1 << 60, 8, 1 << 60),
    ],
)
def test_what_is_not_there_is_invalid_and_no_zeros(
    layer: Layer, at: int, length: int, wrong: int
) -> None:
    assert not layer.is_valid(at, length)
    with pytest.raises(invalid(), match=r"never sent|no RAM stands there") as caught:
        layer.read(at, length)
    assert caught.value.invalid_address == wrong  # type: ignore[attr-defined]
    padded = layer.read(at, length, pad=True)
    whole = b"".join(
        guest.page_content(page) if guest.sent(page) else bytes(SIZE) for page in range(guest.PAGES)
    )
    assert padded == whole[at : at + length].ljust(length, b"\0")


def test_scan_passes_over_gaps_alone(layer: Layer) -> None:
    from volatility3.framework.layers.scanners import BytesScanner

    found = list(layer.scan(layer.context, BytesScanner(guest.WORD)))
    assert found == [page * SIZE for page in range(1, guest.PAGES, 2) if guest.sent(page)]


def test_scan_finds_what_lies_across_its_pieces_once(layer: Layer) -> None:
    from volatility3.framework.layers.scanners import BytesScanner

    scanner = BytesScanner(guest.content(7)[-8:] + bytes(8))
    scanner.chunk_size, scanner.overlap = 3 * SIZE, 16  # 5 to 8 is one, its end in the overlap
    assert list(layer.scan(layer.context, scanner)) == [8 * SIZE - 8]


def test_pages_of_the_firmware_are_not_those_of_ram(
    capture_files: CaptureFiles, stack: Stacks
) -> None:
    (path,) = capture_files("qemu-10.0-devices-pc")
    layer, _ = stack(path)
    assert not layer.is_valid(0xA0000)
    with pytest.raises(invalid(), match="video memory"):
        layer.read(0x9FFFF, 2)
    assert layer.read(0xFFFF0, 16) == layer.read(0xFFFFFFF0, 16)  # the reset vector


def test_layer_writes_nothing(layer: Layer, with_gaps: Path) -> None:
    from volatility3.framework.exceptions import LayerException

    before = with_gaps.read_bytes()
    with pytest.raises(LayerException, match="captures are only read"):
        layer.write(5 * SIZE, b"new")
    assert with_gaps.read_bytes() == before


@pytest.mark.filterwarnings("ignore:Exception ignored in. <_io.FileIO")  # Volatility's own
def test_copies_of_a_layer_share_the_capture(layer: Layer) -> None:
    again = copy.deepcopy(layer.context).layers[layer.name]
    assert again is not layer
    assert again._guest is layer._guest
    assert again.read(5 * SIZE, SIZE) == guest.content(5)


def test_capture_is_closed_when_nothing_uses_it(with_gaps: Path) -> None:
    request = GuestRequest((str(with_gaps),))
    found = open_guest(request)
    again = pickle.loads(pickle.dumps(found))  # noqa: S301  # just made
    assert again is found is open_guest(request)
    gone = weakref.ref(found)
    before = len(list(Path("/proc/self/fd").iterdir()))
    del found, again
    gc.collect()
    assert gone() is None
    assert len(list(Path("/proc/self/fd").iterdir())) < before


def test_page_size_that_no_stream_tells_is_taken(tmp_path: Path, stack: Stacks) -> None:
    path = tmp_path / "vm.mig"
    path.write_bytes(guest.stream())
    (refused, _) = stack(path, qmig_page_size=1000)
    assert kinds([refused]) == ["QmigRefusedLayer"]
    assert stack(path, qmig_page_size=SIZE)[0].read(5 * SIZE, SIZE) == guest.content(5)


def test_stream_further_back_is_read_where_its_offset_is_given(
    tmp_path: Path, stack: Stacks
) -> None:
    path = tmp_path / "image"
    path.write_bytes(bytes(8192) + guest.stream())
    assert kinds(stack(path)) == ["FileLayer"]  # it may be memory that holds a stream
    layer, _ = stack(path, qmig_offset=8192)
    assert layer.read(5 * SIZE, SIZE) == guest.content(5)


@pytest.mark.parametrize("head", [b"\x7fELF", b"EMiL", b"PAGEDU64", b"\0" * 16, b"some text"])
def test_other_files_are_left_to_volatility(head: bytes, tmp_path: Path, stack: Stacks) -> None:
    path = tmp_path / "memory"
    path.write_bytes(head.ljust(1 << 16, b"\0"))
    assert not [kind for kind in kinds(stack(path)) if kind.startswith("Qmig")]
