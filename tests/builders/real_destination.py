"""Real QEMUs as judges of the builders: they load what was built, and their RAM is compared.

The machine `none` has one RAM block and two devices, so a stream made from nothing is complete
for it. `python -m tests.builders.real_destination --qemus DIR` runs every case; DIR/bin holds
qemu-VERSION, as fixtures/recorder/get-qemus makes them.

3.0 and 3.1 have no destination among them. 4.2-merged is left out on purpose: its destination's
threads race for the pages that are sent again behind a SYNC.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fixtures.recorder.errors import RecordError
from fixtures.recorder.replay import loaded
from tests.builders import mapped_ram, multifd, ram, xbzrle
from tests.builders.generations import build_set
from tests.builders.guest import Guest, first_difference
from tests.builders.machine import MainStream, around_mapped_ram
from tests.builders.migration import Workload

BLOCK: Final = "ram"
PAGES: Final = 1024
ARGUMENTS: Final = (
    *("-M", "none", "-m", "4", "-accel", "tcg"),
    *("-nodefaults", "-display", "none"),
)
# How each destination's own release frames a stream.
STYLES: Final = {"5.2": "5.2", "7.2": "7.2", "10.0": "10.0", "11.1": "10.1"}
EACH_SECTION: Final = ("-global", "migration.multifd-flush-after-each-section=on")


@dataclass(frozen=True)
class Built:
    """A migration for the machine `none`, and what its RAM must be."""

    files: tuple[bytes, ...]
    expected: bytes
    capabilities: Mapping[str, bool] = field(default_factory=dict)
    parameters: Mapping[str, int | str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """Something to load: its name, the destinations that can, and who builds it."""

    name: str
    versions: tuple[str, ...]
    build: Callable[[str], Built]


def _guest() -> Guest:
    guest = Guest({BLOCK: PAGES * 4096})
    guest.stamp(BLOCK, (index for index in range(PAGES) if index % 3))
    return guest


def _workload() -> Workload:
    def boot(running: Guest) -> None:
        running.stamp(BLOCK, (index for index in range(PAGES) if index % 3))
        running.scramble(BLOCK, range(9, 600, 90))

    def work(version: int) -> Callable[[Guest], None]:
        def write(running: Guest) -> None:
            running.stamp(BLOCK, range(version, 700, 2), version)
            running.fill(BLOCK, range(200 + version, 260, 3))

        return write

    return Workload(Guest({BLOCK: PAGES * 4096}), [boot, work(1), work(2), work(3)], 400)


def _finished(main: MainStream, guest: Guest, **wanted: bool) -> Built:
    main.switchover()
    main.ram_end()
    main.standard_devices()
    data = guest.contents()[BLOCK]
    return Built(
        (main.finish(),), data, {name.replace("_", "-"): on for name, on in wanted.items()}
    )


def _started(version: str, guest: Guest, tail: bytes = b"") -> MainStream:
    main = MainStream(STYLES[version], "none")
    entry = ram.BlockEntry(BLOCK, len(guest.memory[BLOCK]))
    main.ram_start(ram.block_list([entry], tail=tail + ram.eos()))
    return main


def _records(guest: Guest, one: Callable[[int, bytes, str | None], bytes]) -> bytes:
    """Build a record for each dirty page; the first names the block."""
    built: list[bytes] = []
    for _, index in guest.take_dirty():
        built.append(one(index * 4096, guest.page(BLOCK, index), None if built else BLOCK))
    return b"".join(built)


def _plain(addr: int, page: bytes, name: str | None) -> bytes:
    return ram.page(addr, page, name) if any(page) else ram.zero(addr, name)


def ordinary(version: str) -> Built:
    """Pages and zero pages, in two rounds."""
    guest = _guest()
    main = _started(version, guest)
    main.ram_part(_records(guest, _plain))
    guest.stamp(BLOCK, range(0, 300, 7), 1)
    guest.fill(BLOCK, range(1, 300, 7))
    main.ram_part(_records(guest, _plain))
    return _finished(main, guest)


def fill_bytes(version: str) -> Built:
    """ZERO records with a byte other than zero."""
    guest = _guest()
    guest.fill(BLOCK, range(100, 140), 0xA5)

    def one(addr: int, page: bytes, name: str | None) -> bytes:
        uniform = page == page[:1] * len(page)
        return ram.zero(addr, name, fill=page[0]) if uniform else ram.page(addr, page, name)

    main = _started(version, guest)
    main.ram_part(_records(guest, one))
    return _finished(main, guest)


def compressed(version: str) -> Built:
    """Pages as zlib streams, the first one too."""
    guest = _guest()
    guest.stamp(BLOCK, [0])

    def one(addr: int, page: bytes, name: str | None) -> bytes:
        return ram.compress_page(addr, page, name) if any(page) else ram.zero(addr, name)

    main = _started(version, guest)
    main.ram_part(_records(guest, one))
    return _finished(main, guest, compress=True)


def deltas(version: str) -> Built:
    """XBZRLE in all its forms, also those that no source writes."""
    guest = _guest()
    main = _started(version, guest)
    main.ram_part(_records(guest, _plain))
    for round_index in (1, 2):
        before = guest.contents()[BLOCK]
        guest.stamp(BLOCK, range(1, 60, 4), round_index)
        guest.poke(BLOCK, 5 * 4096 + 4095, bytes([round_index]))
        guest.poke(BLOCK, 7 * 4096 + 127, bytes([round_index]) * 128)

        def one(addr: int, page: bytes, name: str | None, old: bytes = before) -> bytes:
            return ram.xbzrle(addr, xbzrle.encode(old[addr : addr + 4096], page), name)

        main.ram_part(_records(guest, one))
    guest.poke(BLOCK, 2 * 4096, b"new")
    guest.take_dirty()
    forms = xbzrle.uleb128(0, long_form=True) + xbzrle.uleb128(3, long_form=True) + b"new"
    main.ram_part(ram.xbzrle(4096, b"", BLOCK) + ram.xbzrle(2 * 4096, forms))
    return _finished(main, guest, xbzrle=True)


def flush_words(version: str) -> Built:
    """FLUSH words without multifd."""
    guest = _guest()
    main = _started(version, guest, ram.multifd_flush())
    main.ram_part(_records(guest, _plain) + ram.multifd_flush())
    return _finished(main, guest)


def mapped(version: str) -> Built:
    """A mapped-ram file, with old bytes under clear bits."""
    guest = _guest()
    pages = {index: guest.page(BLOCK, index) for index in range(PAGES)}
    written = {index: page for index, page in pages.items() if any(page)}
    present = frozenset(written)
    stale = dict.fromkeys(range(0, 300, 3), b"\xee" * 4096)
    head, rest = around_mapped_ram(STYLES[version], part=ram.eos())
    block = mapped_ram.MappedBlock(BLOCK, PAGES * 4096, written | stale, present)
    data = mapped_ram.capture_bytes(head, [block], rest)
    return Built((data,), guest.contents()[BLOCK], {"mapped-ram": True})


def generation(
    name: str, method: int = multifd.NOCOMP, compression: str = "none"
) -> Callable[[str], Built]:
    """Give the builder of a generation's multifd migration."""

    def build(_: str) -> Built:
        migration = build_set(name, method=method, workload=_workload(), machine="none")
        wanted = {"multifd": True}
        if migration.generation.postcopy:
            wanted["postcopy-ram"] = True
        modern = name[0] in "891"
        each = modern and not migration.generation.flushes
        return Built(
            (migration.main, *migration.channels),
            migration.expected[BLOCK],
            wanted,
            {"multifd-channels": 3, "multifd-compression": compression},
            EACH_SECTION if each else (),
        )

    return build


ALL: Final = ("5.2", "7.2", "10.0", "11.1")
OLD: Final = ("5.2", "7.2")
NEW: Final = ("10.0", "11.1")
CASES: Final = (
    Case("ordinary", ALL, ordinary),
    Case("fill-bytes", OLD, fill_bytes),
    Case("compressed", OLD, compressed),
    Case("deltas", ALL, deltas),
    Case("flush-words", NEW, flush_words),
    Case("mapped-ram", NEW, mapped),
    *(Case(f"multifd-{name}", OLD, generation(name)) for name in ("4.0", "4.2", "5.2", "7.2")),
    *(
        Case(f"multifd-{name}-zlib", OLD, generation(name, multifd.ZLIB, "zlib"))
        for name in ("5.2", "7.2")
    ),
    *(
        Case(f"multifd-{name}", NEW, generation(name))
        for name in (
            *("8.1", "8.2", "8.2-flush-each", "9.1", "9.2", "9.2-flush-each"),
            *("10.0", "10.0-flush-each"),
        )
    ),
    *(
        Case(f"multifd-{name}-{method}", NEW, generation(name, number, method))
        for name in ("8.2", "9.2", "10.0")
        for method, number in (("zlib", multifd.ZLIB), ("zstd", multifd.ZSTD))
    ),
    Case("multifd-10.1-postcopy", ("11.1",), generation("10.1-postcopy")),
)


def load(binary: Path, built: Built, directory: Path) -> bytes:
    """Load a migration into a real QEMU and give its RAM.

    Args:
        binary: The emulator.
        built: The migration.
        directory: An empty working directory.

    Returns:
        The RAM of the destination, which stays stopped.

    Raises:
        RecordError: The destination refused it.
    """
    files = []
    for index, data in enumerate(built.files):
        path = directory / f"connection-{index}"
        path.write_bytes(data)
        files.append(path)
    with loaded(
        binary,
        [*ARGUMENTS, *built.arguments],
        files,
        directory,
        capabilities=built.capabilities,
        parameters=built.parameters,
    ) as machine:
        return machine.save_physical(0, len(built.expected))


def verdict(binary: Path, case: Case, version: str) -> str | None:
    """Tell what is wrong with a case at a destination, or None."""
    built = case.build(version)
    with tempfile.TemporaryDirectory() as directory:
        try:
            found = load(binary, built, Path(directory))
        except RecordError as err:
            return str(err)
    return first_difference({BLOCK: built.expected}, {BLOCK: found})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cases that are asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--qemus", type=Path, required=True, help="the folder of real QEMUs")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    options = parser.parse_args(arguments)
    failed = 0
    for case in CASES:
        for version in case.versions if options.only in case.name else ():
            wrong = verdict(options.qemus / "bin" / f"qemu-{version}", case, version)
            failed += wrong is not None
            print(f"{case.name} -> {version}: {wrong or 'same RAM'}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
