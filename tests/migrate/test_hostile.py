"""A live guest, four channels, and a scheduler that reorders them as badly as it can.

The file must hold what the guest's memory holds when it stopped, whatever the order. With the
syncs taken out it must not, or else this proves nothing.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

import qmig
from qmig.capture.channel import ChannelWalk
from qmig.capture.source import FileSource
from qmig.migrate.counters import Counters
from qmig.migrate.generations import GENERATIONS, generation_of
from qmig.migrate.main_stream import MainStream
from qmig.migrate.mapped_ram import MappedRamLayout
from qmig.migrate.migrator import MigrationOptions, Migrator
from qmig.migrate.multifd import MultifdLayout
from qmig.migrate.skeleton import Skeleton
from qmig.migrate.synthetic import SyntheticGuest
from tests.builders.multifd import SYNC
from tests.builders.walk_multifd import read_channel
from tests.migrate.hostile import CopiedGuest, HostileChannels, MemoryOutput

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

    from qmig.migrate.sync import Sync

SEEDS = 500
CHANNELS = 4
PAGES = 96
MULTIFD_PAGE_LEN = 16384  # 32 pages a packet, so that a round has several packets
JOB_LEN = 8 * 4096
OPTIONS = MigrationOptions(max_rounds=6, downtime_limit_ms=0)


class Guest:
    """A synthetic guest that writes between the steps of the channels, until it is stopped."""

    def __init__(self, seed: int, page_size_len: int = 4096) -> None:
        self.inner = SyntheticGuest(seed, PAGES * page_size_len, page_size_len=page_size_len)
        self.copied = CopiedGuest(self.inner)
        self.writes = 0
        self._stop, self.copied.stop = self.copied.stop, self.stop  # type: ignore[method-assign]  # on purpose
        self._running = True

    def write(self, random: Random) -> None:
        if self._running:
            some = random.choice((0, 0, 1, 1, 3))
            self.inner.step(some)
            self.writes += some

    def stop(self) -> None:
        self._running = False
        self._stop()


def save_mapped(seed: int, path: Path, *, honest: bool = True) -> tuple[Guest, Counters]:
    guest, output, counters = Guest(seed), MemoryOutput(), Counters()
    channels = HostileChannels(CHANNELS, seed, guest.write, honest=honest)
    skeleton = Skeleton(machine="none", capabilities=("mapped-ram",))
    stream = MainStream(output, 0, footers=True, ram_section_id=1)
    stream.header(skeleton.configuration(("mapped-ram",)))
    layout = MappedRamLayout(stream, output, guest.copied, channels, counters, job_len=JOB_LEN)
    Migrator(guest.copied, skeleton, stream, layout, options=OPTIONS, counters=counters).run()
    channels.drain()
    stream.finish(None)
    path.write_bytes(output.data)
    return guest, counters


def digest_of(path: Path) -> str:
    import hashlib

    with qmig.open_capture(path) as capture:
        block = capture.ram["pc.ram"]
        return hashlib.sha256(block.read(0, block.used_length)).hexdigest()


@pytest.mark.parametrize("first", range(0, SEEDS, 50))
def test_mapped_ram_is_the_guest_when_it_stopped(first: int, tmp_path: Path) -> None:
    for seed in range(first, first + 50):
        guest, counters = save_mapped(seed, tmp_path / "vm.img")
        assert guest.writes > 20, "the guest must go on writing while it is saved"
        assert counters.dirty_sync_count > 1, "there must be several rounds"
        assert digest_of(tmp_path / "vm.img") == guest.inner.digest()["pc.ram"], f"seed {seed}"


def test_without_syncs_a_page_is_overtaken(tmp_path: Path) -> None:
    wrong = 0
    for seed in range(40):
        guest, _ = save_mapped(seed, tmp_path / "vm.img", honest=False)
        wrong += digest_of(tmp_path / "vm.img") != guest.inner.digest()["pc.ram"]
    assert wrong > 20, "a sender that does not wait must be seen to write old pages over new ones"


class WithoutSyncs(MultifdLayout):
    """A sender that waits for its channels, but tells the receiver nothing of it."""

    def _sync(self, sync: Sync) -> None:
        if sync.wait:
            self._flush()
            self._channels.sync()


def save_multifd(
    seed: int, folder: Path, release: str, kind: type[MultifdLayout] = MultifdLayout
) -> tuple[Guest, list[Path]]:
    guest, main, counters = Guest(seed, MULTIFD_PAGE_LEN), MemoryOutput(), Counters()
    channels = HostileChannels(CHANNELS, seed, guest.write)
    outputs = [MemoryOutput() for _ in range(CHANNELS)]
    skeleton = Skeleton(machine="none")
    stream = MainStream(main, 0, footers=True, ram_section_id=1)
    stream.header(skeleton.configuration(()))
    layout = kind(
        stream,
        outputs,
        guest.copied,
        channels,
        counters,
        generation=generation_of(release),
    )
    Migrator(guest.copied, skeleton, stream, layout, options=OPTIONS, counters=counters).run()
    stream.finish(None)
    paths = []
    for number, output in enumerate([main, *outputs]):
        paths.append(folder / f"connection-{number}")
        paths[-1].write_bytes(output.data)
    return guest, paths


def pages_sent_on_two_channels_between_syncs(paths: list[Path]) -> int:
    """Count pages that come on different channels in one epoch: nothing tells which is newer."""
    seen: dict[tuple[int, str, int], int] = {}
    double = 0
    for number, path in enumerate(paths[1:]):
        with FileSource(path) as source:
            epoch = 0
            for packet in ChannelWalk(source, 0, page_size_len=MULTIFD_PAGE_LEN).packets():
                for addr in (*packet.normal_pages, *packet.zero_pages):
                    double += seen.setdefault((epoch, packet.block, addr), number) != number
                epoch += packet.sync
    return double


@pytest.mark.parametrize(
    "release", [f"{major}.{minor}" for g in GENERATIONS for major, minor in [g.first]]
)
def test_multifd_is_the_guest_when_it_stopped(release: str, tmp_path: Path) -> None:
    for seed in range(30):
        guest, paths = save_multifd(seed, tmp_path, release)
        assert pages_sent_on_two_channels_between_syncs(paths) == 0
        with qmig.open_capture(*paths, page_size_len=MULTIFD_PAGE_LEN) as capture:
            assert capture.errors == []
            block = capture.ram["pc.ram"]
            data = block.read(0, block.used_length)
        import hashlib

        assert hashlib.sha256(data).hexdigest() == guest.inner.digest()["pc.ram"], f"seed {seed}"


@pytest.mark.parametrize(
    "release", [f"{major}.{minor}" for g in GENERATIONS for major, minor in [g.first]]
)
def test_sync_rides_on_pages_where_the_release_has_it_so(release: str, tmp_path: Path) -> None:
    """Up to 8.2 a SYNC goes with the pages that wait, and an empty packet follows it."""
    riding = alone = 0
    for seed in range(3):
        _, paths = save_multifd(seed, tmp_path, release)
        syncs = set()
        for path in paths[1:]:
            packets = read_channel(path.read_bytes(), MULTIFD_PAGE_LEN).ram_packets()
            syncs.add(sum(bool(packet.flags & SYNC) for packet in packets))
            for packet, behind in pairwise([*packets, None]):
                assert packet is not None
                pages = packet.normal + packet.zero_pages
                if packet.flags & SYNC:
                    riding, alone = riding + (pages > 0), alone + (pages == 0)
                    if pages:
                        assert behind is not None
                        assert (behind.flags, behind.normal, behind.zero_pages) == (0, 0, 0)
        assert len(syncs) == 1
    assert alone > 0
    assert (riding > 0) == (generation_of(release).first < (9, 0))


def test_multifd_without_syncs_leaves_the_order_open(tmp_path: Path) -> None:
    double = 0
    for seed in range(5):
        _, paths = save_multifd(seed, tmp_path, "10.0", WithoutSyncs)
        double += pages_sent_on_two_channels_between_syncs(paths)
    assert double > 0
