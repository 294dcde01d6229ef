"""Reads from RAM at any address: over pages, runs, chunks and blocks, against a dictionary."""

import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qmig
from qmig.capture.page_index import CHUNK_PAGES
from qmig.errors import MalformedStreamError, MissingPagesError
from tests.builders import mapped_ram, ram, xbzrle
from tests.builders.machine import MainStream, around_mapped_ram
from tests.builders.mapped_ram import MappedBlock

SIZE = 512
BLOCKS = {"big": (CHUNK_PAGES + 50) * SIZE, "small": 7 * SIZE, "one": SIZE}


@dataclass
class Model:
    """A stream in the making, and what RAM holds after it."""

    stream: MainStream = field(
        default_factory=lambda: MainStream("8.2", "pc-i440fx-8.2", page_size=SIZE)
    )
    pages: dict[tuple[str, int], bytes] = field(default_factory=dict)
    zeros: dict[tuple[str, int], bool] = field(default_factory=dict)
    records: bytes = b""
    current: str = ""

    def send(self, block: str, page: int, kind: str, seed: int) -> None:
        """Send a page once more."""
        name = None if block == self.current else block
        self.current = block
        addr = page * SIZE
        data = bytes((seed * 7 + page + i) % 256 for i in range(SIZE))
        old = self.pages.get((block, page))
        if kind == "xbzrle" and old is not None:
            data = old[:100] + data[100:110] + old[110:]
            self.records += ram.xbzrle(addr, xbzrle.encode(old, data), name)
        elif kind == "zero":
            data = bytes(SIZE)
            self.records += ram.zero(addr, name)
        elif kind == "fill":
            data = bytes([seed % 255 + 1]) * SIZE
            self.records += ram.zero(addr, name, fill=data[0])
        elif kind == "compress":
            self.records += (
                ram.record(addr, ram.PAGE, name, data)
                if SIZE <= ram.COMPRESS_PAGE
                else ram.compress_page(addr, data, name)
            )
        else:
            self.records += ram.page(addr, data, name)
        self.pages[block, page] = data
        self.zeros[block, page] = kind == "zero"

    def finish(self, path: Path) -> None:
        """Write the stream."""
        self.stream.ram_start(ram.block_list(ram.BlockEntry(n, size) for n, size in BLOCKS.items()))
        self.stream.ram_part(self.records)
        self.stream.ram_end()
        path.write_bytes(self.stream.finish())

    def read(self, block: str, addr: int, length: int) -> bytes | None:
        """Return a range, None where a page of it was never sent."""
        out = b""
        if length == 0:
            return out
        for page in range(addr // SIZE, -(-(addr + length) // SIZE)):
            if (block, page) not in self.pages:
                return None
            out += self.pages[block, page]
        skip = addr % SIZE
        return out[skip : skip + length]


KINDS = ["plain", "plain", "zero", "fill", "xbzrle", "xbzrle", "compress"]
sends = st.tuples(
    st.sampled_from(["big", "small"]),
    st.integers(-3, 12),
    st.sampled_from(KINDS),
    st.integers(0, 300),
)
reads = st.tuples(st.sampled_from([*BLOCKS]), st.integers(-2000, 6000), st.integers(0, 3000))


@settings(max_examples=80)
@given(sent=st.lists(sends, max_size=60), asked=st.lists(reads, min_size=5, max_size=20))
def test_reads_give_what_was_sent_last(
    sent: list[tuple[str, int, str, int]],
    asked: list[tuple[str, int, int]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("ram") / "vm.sav"
    model = Model()
    for block, page, kind, seed in sent:
        around = CHUNK_PAGES if block == "big" else 3
        last = BLOCKS[block] // SIZE - 1
        model.send(block, min(max(0, around + page), last), kind, seed)
    model.finish(path)
    with qmig.open_capture(path) as capture:
        assert capture.errors == []
        for block, around, length in asked:
            base = CHUNK_PAGES * SIZE if block == "big" else 0
            addr = min(max(0, base + around), BLOCKS[block])
            length = min(length, BLOCKS[block] - addr)
            check_read(capture, model, block, addr, length)
        for block, length in BLOCKS.items():
            sent_pages = sum(key[0] == block for key in model.pages)
            assert capture.ram[block].missing_pages() == length // SIZE - sent_pages
        check_known_zero(capture, model)


def check_known_zero(capture: qmig.Capture, model: Model) -> None:
    """Zero records are known to be zero without a look; what was not sent is not."""
    for block, low in (("small", 0), ("big", CHUNK_PAGES - 20)):
        count = min(40, BLOCKS[block] // SIZE - low)
        known = capture.ram[block].known_zero(low, count).tolist()
        assert known == [model.zeros.get((block, low + i), False) for i in range(count)]
        present = capture.ram[block].present(low, count).tolist()
        assert present == [(block, low + i) in model.pages for i in range(count)]


def check_read(capture: qmig.Capture, model: Model, block: str, addr: int, length: int) -> None:
    view = capture.ram[block]
    expected = model.read(block, addr, length)
    filled = view.read(addr, length, missing="zero")
    assert len(filled) == length
    if expected is not None:
        assert view.read(addr, length) == expected
        assert filled == expected
        return
    with pytest.raises(MissingPagesError) as caught:
        view.read(addr, length)
    error = caught.value
    assert error.block == block
    first = next(p for p in range(addr // SIZE, addr // SIZE + 99) if (block, p) not in model.pages)
    assert error.addr == first * SIZE
    assert error.length % SIZE == 0
    behind = error.addr // SIZE + error.length // SIZE
    assert all((block, page) not in model.pages for page in range(first, behind))
    last = -(-(addr + length) // SIZE)
    assert behind == last or (block, behind) in model.pages
    for page in range(addr // SIZE, last):
        content = model.pages.get((block, page), bytes(SIZE))
        low, high = max(addr, page * SIZE), min(addr + length, (page + 1) * SIZE)
        part = content[low - page * SIZE : high - page * SIZE]
        assert filled[low - addr : high - addr] == part


def made(tmp_path: Path) -> tuple[Model, Path]:
    model, path = Model(), tmp_path / "vm.sav"
    for page in range(7):
        model.send("small", page, "plain", page)
    model.finish(path)
    return model, path


def test_reads_outside_a_block_are_refused(tmp_path: Path) -> None:
    _, path = made(tmp_path)
    with qmig.open_capture(path) as capture:
        view = capture.ram["small"]
        for addr, length in ((-1, 1), (0, -1), (0, 7 * SIZE + 1), (7 * SIZE, 1), (1 << 60, 1)):
            with pytest.raises(ValueError, match="outside"):
                view.read(addr, length)
        assert view.read(7 * SIZE, 0) == b""
        with pytest.raises(KeyError):
            _ = capture.ram["absent"]


def test_ram_is_a_mapping_in_the_order_of_the_list(tmp_path: Path) -> None:
    _, path = made(tmp_path)
    with qmig.open_capture(path) as capture:
        assert list(capture.ram) == list(BLOCKS) == list(capture.ram.blocks)
        assert len(capture.ram) == 3
        assert capture.ram.page_size_len == SIZE
        assert capture.ram["big"].used_length == BLOCKS["big"]
        assert capture.ram["big"].name == "big"
        assert capture.ram is capture.ram


def test_pieces_make_up_a_block(tmp_path: Path) -> None:
    model, path = made(tmp_path)
    with qmig.open_capture(path) as capture:
        assert b"".join(capture.ram["small"].pieces()) == model.read("small", 0, 7 * SIZE)
        pieces = list(capture.ram["big"].pieces(missing="zero"))
        assert sum(map(len, pieces)) == BLOCKS["big"]
        assert max(map(len, pieces)) <= 4 << 20
        assert not any(map(any, pieces))
        with pytest.raises(MissingPagesError):
            next(capture.ram["big"].pieces())


def test_text_of_missing_pages_says_what_and_why(tmp_path: Path) -> None:
    _, path = made(tmp_path)
    with qmig.open_capture(path) as capture, pytest.raises(MissingPagesError) as caught:
        capture.ram["one"].read(0, 1)
    assert str(caught.value) == (
        "RAM block 'one': 512 bytes at 0x0 are not in the capture: they were never sent"
    )


DAMAGED = {
    "not zlib": ram.compress_page(0, b"", "one", compressed=b"\xaa" * 50),
    "too short": ram.compress_page(0, b"", "one", compressed=zlib.compress(bytes(SIZE - 1))),
    "too long": ram.compress_page(0, b"", "one", compressed=zlib.compress(bytes(SIZE + 1))),
    "cut": ram.compress_page(0, b"", "one", compressed=zlib.compress(bytes(range(256)) * 2)[:-9]),
    "xbzrle": ram.page(0, bytes(SIZE), "one") + ram.xbzrle(0, b"\x01\x00ab"),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_payload_is_told_when_it_is_read(what: str, tmp_path: Path) -> None:
    model, path = Model(), tmp_path / "vm.sav"
    model.send("small", 0, "plain", 1)
    model.records += DAMAGED[what]
    model.finish(path)
    with qmig.open_capture(path) as capture:
        assert capture.errors == []
        assert capture.ram["small"].read(0, SIZE) == model.read("small", 0, SIZE)
        with pytest.raises(MalformedStreamError) as caught:
            capture.ram["one"].read(0, 1)
        data = path.read_bytes()
        assert data.index(model.records) < caught.value.offset < len(data)
        assert "one" in caught.value.record


# -- mapped-ram -----------------------------------------------------------------------------------


def write_mapped(path: Path, blocks: list[MappedBlock], *, file_offset: int = 0) -> None:
    head, rest = around_mapped_ram(machine="pc-i440fx-10.0")
    mapped_ram.write_capture(path, head, blocks, rest, file_offset=file_offset)


def page_of(index: int) -> bytes:
    return bytes((index + i) % 256 for i in range(4096))


@pytest.mark.parametrize("file_offset", [0, 0x3000])
def test_mapped_pages_count_where_their_bit_is_set(tmp_path: Path, file_offset: int) -> None:
    """Data under a clear bit is what a page was before it became zero."""
    path = tmp_path / "vm.sav"
    pages = {index: page_of(index) for index in (0, 1, 5, 63, 64, 65, 99)}
    set_pages = frozenset({1, 2, 5, 63, 65, 99})  # 0 and 64 have old data, 2 is zero and set
    write_mapped(
        path,
        [
            MappedBlock("pc.ram", 100 * 4096, pages, set_pages),
            MappedBlock("empty", 8 * 4096, {}),
        ],
        file_offset=file_offset,
    )
    with qmig.open_capture(path) as capture:
        assert capture.errors == []
        expected = b"".join(
            pages[i] if i in set_pages and i in pages else bytes(4096) for i in range(100)
        )
        view = capture.ram["pc.ram"]
        assert view.read(0, 100 * 4096) == expected
        for addr in (0, 4095, 4096, 62 * 4096 + 7, 64 * 4096 - 1):
            assert view.read(addr, 9000) == expected[addr : addr + 9000]
        assert view.missing_pages() == 0
        known = view.known_zero(0, 100).tolist()
        assert known == [i not in set_pages for i in range(100)]
        assert capture.ram["empty"].read(0, 8 * 4096) == bytes(8 * 4096)


def test_an_unfinished_mapped_file_has_no_zero_pages(tmp_path: Path) -> None:
    """Bitmaps come last: a clear bit in a file that was cut stands for nothing."""
    path = tmp_path / "vm.sav"
    write_mapped(path, [MappedBlock("pc.ram", 16 * 4096, {3: page_of(3)}, frozenset())])
    with qmig.open_capture(path) as capture:
        end = next(row for row in capture.stream.sections.rows if row.word == "END")
        assert capture.ram["pc.ram"].missing_pages() == 0
    data = path.read_bytes()[: end.offset + 3]
    path.write_bytes(data)
    with qmig.open_capture(path) as capture:
        assert capture.errors
        view = capture.partial_ram["pc.ram"]
        assert view.missing_pages() == 16
        with pytest.raises(MissingPagesError, match="not finished"):
            view.read(0, 1)
        with pytest.raises(qmig.StreamError):
            _ = capture.ram


EMPTY = MappedBlock("pc.ram", 16 * 4096, {})
WRONG_HEADERS = {
    "version": (0, replace(EMPTY, version=2)),
    "page_size": (4, replace(EMPTY, page_size=8192)),
    "page_size of none": (4, replace(EMPTY, page_size=0)),
    "pages_offset": (20, replace(EMPTY, pages_offset=0x100001)),
    "pages_offset before": (20, replace(EMPTY, pages_offset=4096)),
}


@pytest.mark.parametrize("what", WRONG_HEADERS)
def test_mapped_headers_that_are_not_legal_are_located(what: str, tmp_path: Path) -> None:
    path = tmp_path / "vm.sav"
    at, block = WRONG_HEADERS[what]
    write_mapped(path, [block], file_offset=0x2000)
    with qmig.open_capture(path) as capture:
        (error,) = capture.errors
        assert error.field == what.partition(" ")[0]
        header = path.read_bytes().index(b"\x06pc.ram") + 7 + 8
        assert error.offset == header + at
