"""Whole multifd migrations of a small dirtying guest, as each QEMU generation writes them.

One Generation is one row of what is known about synchronisation: where SYNC packets and FLUSH
words go, whether SYNC travels with pages, what empty packets hold. Pages that are sent again in
a later epoch go over another channel than before where they can, so that whoever applies channels
in a wrong order gets wrong RAM.

9.0 is left out and 9.1's SYNC packets follow their neighbours: what these two write into
`pages_alloc` of a SYNC packet is known from no capture.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from tests.builders import multifd
from tests.builders.guest import Guest
from tests.builders.migration import Generation, MigrationSet, SyncPoints, Workload
from tests.builders.multifd import Layout
from tests.builders.sender import Sender

_MODERN: Final = Generation(
    "9.2",
    "pc-i440fx-9.2",
    SyncPoints.ROUND_AND_SILENT_END,
    separate_sync=True,
    empty_sync_capacity=0,
    merges_sync=False,
    zero_pages_in_packets=True,
)
_X_MULTIFD: Final = Generation("3.1", "pc-i440fx-3.1", layout=Layout.X_MULTIFD, capacity=16)
_V10_0: Final = replace(
    _MODERN, release="10.0", machine="pc-i440fx-10.0", sync_points=SyncPoints.ROUND
)
_V8_2: Final = Generation("8.2", "pc-i440fx-8.2", SyncPoints.ROUND_AND_END)
_V4_2: Final = Generation(
    "4.2",
    "pc-i440fx-4.2",
    resends_batch=True,
    init_reserved=bytes(range(0xB4, 0xB4 + 39)),
)

GENERATIONS: Final[dict[str, Generation]] = {
    "3.0": replace(_X_MULTIFD, release="3.0", machine="pc-i440fx-3.0"),
    "3.1": _X_MULTIFD,
    "4.0": Generation("4.0", "pc-i440fx-4.0"),
    "4.2": replace(_V4_2, merges_sync=False),
    "4.2-merged": _V4_2,
    "5.2": Generation("5.2", "pc-i440fx-5.2", stale_size=True, doubles_boundary=True),
    "7.2": Generation("7.2", "pc-i440fx-7.2", stale_size=True, doubles_boundary=True),
    "8.1": replace(_V8_2, release="8.1", machine="pc-i440fx-8.1"),
    "8.2": _V8_2,
    "8.2-flush-each": _V8_2.flushing_each_section(),
    "9.1": replace(_MODERN, release="9.1", machine="pc-i440fx-9.1", empty_sync_capacity=None),
    "9.2": _MODERN,
    "9.2-flush-each": _MODERN.flushing_each_section(),
    "10.0": _V10_0,
    "10.0-flush-each": replace(_V10_0.flushing_each_section(), release="10.0"),
    "10.1-postcopy": replace(_V10_0, release="10.1", machine="pc-i440fx-10.1", postcopy=True),
}


def default_workload(page_size: int = 4096) -> Workload:
    """Make three blocks that are written to in four rounds.

    Pages become zero and come back, some are written in every round, some once.
    """
    guest = Guest(
        {"pc.ram": 384 * page_size, "pc.bios": 32 * page_size, "/rom@etc/table": 4 * page_size},
        page_size,
    )

    def boot(running: Guest) -> None:
        running.stamp("pc.ram", (index for index in range(384) if index % 3))
        running.fill("pc.ram", range(360, 366), 0xFF)
        running.stamp("pc.bios", range(4, 32))
        running.stamp("/rom@etc/table", [0])

    def work(version: int) -> Callable[[Guest], None]:
        def write(running: Guest) -> None:
            running.stamp("pc.ram", range(8, 200 - 40 * version), version)
            running.stamp("pc.ram", range(200 + version, 380, 4), version)
            running.fill("pc.ram", range(40 + version, 60, 3))
            running.stamp("pc.bios", range(version, 32, 5), version)
            if version % 2:
                running.fill("pc.bios", range(20, 26))

        return write

    return Workload(guest, [boot, work(1), work(2), work(3)])


def build_set(
    name: str,
    *,
    method: int = multifd.NOCOMP,
    channels: int = 3,
    workload: Workload | None = None,
    page_size: int = 4096,
    machine: str | None = None,
) -> MigrationSet:
    """Build a generation's migration of a guest.

    Args:
        name: A key of GENERATIONS.
        method: The compression method, a number of multifd's flags.
        channels: How many channels.
        workload: The guest and what it does; by default a small busy one.
        page_size: The target's page size, for the default guest.
        machine: The machine's name in place of the generation's.
    """
    generation = GENERATIONS[name]
    if machine is not None:
        generation = replace(generation, machine=machine)
    chosen = default_workload(page_size) if workload is None else workload
    return Sender(generation, chosen, method=method, channels=channels).run()
