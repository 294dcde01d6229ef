"""10,000 broken captures, the same in every run: accepted, or a documented exception.

`tests.fuzz.run` makes longer runs; what breaks the contract there becomes a file in `crashes/`.
"""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.contract import ACCEPTED, ENTRY_POINTS, Contract
from tests.fuzz.gapped import Files, GappedFile, gapped, packed, unpacked, write_files
from tests.fuzz.guard import (
    MOST_MEMORY_LEN,
    ContractBrokenError,
    HangError,
    limited_memory,
    limited_time,
    writing_only_into,
)
from tests.fuzz.mutate import Mutator, Seed
from tests.fuzz.run import TURNS
from tests.fuzz.seeds import built_seeds
from tests.fuzz.strategies import broken, schema_streams
from tests.property.patience import MOST_PROCESSOR_SECONDS

PARTS = 16
INPUTS_OF_A_PART = 550
DRAWN = 600  # of each of two strategies: 10,000 in all
RUN = 20  # number of the run
CRASHES = sorted((Path(__file__).parent / "crashes").glob("*.bin"))


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[Seed]:
    return built_seeds(tmp_path_factory.mktemp("seeds"))


@pytest.fixture(scope="module")
def contract(tmp_path_factory: pytest.TempPathFactory, seeds: list[Seed]) -> Iterator[Contract]:
    made = Contract(tmp_path_factory.mktemp("fuzz"))
    for entry in ENTRY_POINTS:  # memory counts from where all modules are loaded
        for seed in seeds[:30]:
            made.hold(entry, made.write(seed.files))
    with limited_memory():
        yield made


def held(contract: Contract, entry: str, files: Files) -> str:
    with limited_time():
        return contract.hold(entry, contract.write(files))


@pytest.mark.parametrize("part", range(PARTS))
def test_any_broken_capture_is_accepted_or_refused(
    part: int, contract: Contract, seeds: list[Seed]
) -> None:
    mutator = Mutator(seeds, RUN)
    outcomes: Counter[str] = Counter()
    for number in range(part * INPUTS_OF_A_PART, (part + 1) * INPUTS_OF_A_PART):
        name, files = mutator.made(number)
        entry = TURNS[number % len(TURNS)]
        try:
            outcomes[held(contract, entry, files)] += 1
        except BaseException as error:  # it is raised again, and says which input it was
            error.add_note(f"input {number} of run {RUN}, made of {name}, to {entry}")
            raise
    # Otherwise nothing of them is looked at, or nothing is broken.
    assert outcomes[ACCEPTED] > INPUTS_OF_A_PART // 4
    assert outcomes["MalformedStreamError"] > INPUTS_OF_A_PART // 20


@settings(max_examples=DRAWN)
@given(files=broken(), entry=st.sampled_from(sorted(ENTRY_POINTS)))
def test_streams_with_broken_fields(contract: Contract, files: Files, entry: str) -> None:
    held(contract, entry, files)


@settings(max_examples=DRAWN)
@given(data=schema_streams(), entry=st.sampled_from(sorted(ENTRY_POINTS)))
def test_records_with_any_values_in_any_order(contract: Contract, data: bytes, entry: str) -> None:
    held(contract, entry, (GappedFile(data),))


def test_all_built_captures_are_read_whole(contract: Contract, seeds: list[Seed]) -> None:
    unfinished = ("libvirt_unfinished",)
    for seed in seeds:
        outcome = held(contract, "inspect", seed.files)
        assert (outcome == ACCEPTED) is (seed.name not in unfinished), seed.name
    with_fields = [seed for seed in seeds if len(seed.places) > 10]
    assert len(with_fields) > len(seeds) * 3 // 4


@pytest.mark.parametrize("crash", CRASHES, ids=lambda path: path.stem)
@pytest.mark.parametrize("entry", ENTRY_POINTS)
def test_what_broke_the_contract_once(entry: str, crash: Path, contract: Contract) -> None:
    held(contract, entry, unpacked(crash.read_bytes()))


def test_an_input_is_the_same_each_time(seeds: list[Seed]) -> None:
    one, other = Mutator(seeds, 1), Mutator(seeds, 1)
    other.made(7)  # what came before makes no difference
    assert [one.made(n) for n in range(40)] == [other.made(n) for n in range(40)]
    assert [Mutator(seeds, 2).made(n) for n in range(40)] != [one.made(n) for n in range(40)]


def zstd_bomb(front: bytes, blocks: int) -> bytes:
    """Return a zstd frame: some bytes, and 128 KiB of zeros for each four bytes behind them."""

    def block(kind: int, length: int, content: bytes) -> bytes:
        return (length << 3 | kind).to_bytes(3, "little") + content

    window = (17 - 10) << 3  # 128 KiB
    head = bytes.fromhex("28b52ffd00") + bytes([window]) + block(0, len(front), front)
    return head + block(2, 128 << 10, b"\0") * blocks + block(3, 1, b"\0")


@pytest.mark.parametrize("entry", ENTRY_POINTS)
def test_a_quarter_of_a_gib_in_a_small_file(
    entry: str, contract: Contract, seeds: list[Seed]
) -> None:
    front = next(seed for seed in seeds if seed.name == "ordinary").files[0].data[:300]
    bomb = zstd_bomb(front, 2 * 1024)
    assert len(bomb) < 20_000
    with limited_time(MOST_PROCESSOR_SECONDS):
        contract.hold(entry, contract.write((GappedFile(bomb),)))


# -- what watches can see -------------------------------------------------------------------------


def test_a_file_elsewhere_is_seen(tmp_path: Path) -> None:
    inside = tmp_path / "out"
    inside.mkdir()
    with writing_only_into(inside):
        (inside / "file").write_text("here")
        (inside / "file").rename(inside / "other")
    for act in (
        lambda: (tmp_path / "file").write_text("elsewhere"),
        lambda: os.close(os.open(tmp_path / "new", os.O_CREAT | os.O_WRONLY)),
        lambda: (inside / "other").rename(tmp_path / "other"),
        lambda: (tmp_path / "folder").mkdir(),
        lambda: os.system("true"),  # noqa: S605  # the guard must see it
    ):
        with pytest.raises(ContractBrokenError, match="outside"), writing_only_into(inside):
            act()


def test_a_hang_is_seen() -> None:
    with pytest.raises(HangError), limited_time(0.05):
        while True:
            pass


def test_too_much_memory_is_seen() -> None:
    with limited_memory():
        assert len(bytes(MOST_MEMORY_LEN // 4))
        with pytest.raises(MemoryError):
            bytes(2 * MOST_MEMORY_LEN)
    with (
        pytest.raises(ContractBrokenError, match="in memory"),
        limited_memory(MOST_MEMORY_LEN // 8),
    ):
        assert len(b"x" * (MOST_MEMORY_LEN // 4))


def test_a_file_left_open_or_behind_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = Contract(tmp_path)
    left = []

    def opens(paths: object, out: Path) -> None:
        left.append((out / "file").open("w"))

    monkeypatch.setitem(ENTRY_POINTS, "inspect", opens)
    with pytest.raises(ContractBrokenError, match="left a file open"):
        contract.hold("inspect", [])
    left.pop().close()
    monkeypatch.setitem(ENTRY_POINTS, "salvage", lambda paths, out: (out / "x").touch())
    contract = Contract(tmp_path)
    with pytest.raises(ContractBrokenError, match="left behind"):
        contract.hold("salvage", [])


def test_captures_are_packed_and_unpacked(tmp_path: Path) -> None:
    data = b"head" + bytes(200_000) + b"middle" + bytes(70_000) + b"end"
    files = (gapped(data), GappedFile(b"other"))
    assert len(files[0].data) < 10_000
    assert unpacked(packed(files)) == files
    paths = write_files(files, tmp_path)
    assert paths[0].read_bytes() == data
    assert paths[1].read_bytes() == b"other"
    kept = files[0].kept_offset(data.index(b"middle"))
    assert kept is not None
    assert files[0].data[kept : kept + 6] == b"middle"
    assert files[0].kept_offset(100_000) is None
    assert unpacked(b"QEVM") == (GappedFile(b"QEVM"),)
    for cut in range(len(packed(files)) - 10_000, len(packed(files)), 997):
        unpacked(packed(files)[:cut])
