"""Senders with one bug each: validate finds it and names the packet.

The bugs are put into the project's own migrator, with a guest that never stops writing and
channels that are reordered as badly as can be; where the bug is, is told by the bug itself, or
found by the builders' reader, which shares no code with the rules. Sets of the builders, made in
another way, are damaged alike in every generation.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import pytest

import qmig
from qmig.checks.judge import Judge
from qmig.checks.rule import Severity
from qmig.migrate.generations import GENERATIONS
from qmig.migrate.multifd import MultifdLayout
from qmig.migrate.sync import Sync
from qmig.wire.ram import RamSaveFlag
from tests.builders.generations import GENERATIONS as BUILT
from tests.builders.generations import build_set
from tests.builders.multifd import SYNC, Layout, Packet
from tests.builders.walk_multifd import Channel, read_channel
from tests.migrate.hostile import MemoryOutput
from tests.migrate.test_hostile import MULTIFD_PAGE_LEN, save_multifd

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from qmig.checks.finding import Finding
    from qmig.memory import RamBlock

SEEDS = range(12)
MANY_SEEDS = range(40)  # for bugs that need a page to be written at the wrong moment
FEWEST = 5  # seeds of those that must show the bug
RELEASES = [f"{major}.{minor}" for g in GENERATIONS for major, minor in [g.first]]
PER_ROUND = ["8.1", "9.0", "9.1", "9.2", "10.0"]
NUMBERED = ["9.2", "10.0"]
BAD_SYNC = 1  # which round's sync is bad: behind the first, in which all pages are sent


def findings(paths: list[Path], page_size_len: int | None = None) -> list[Finding]:
    """Return all errors and warnings."""
    with qmig.open_capture(*paths, page_size_len=page_size_len) as capture:
        verdict = Judge(capture).run()
    assert not verdict.unjudged
    return [found for found in verdict.findings if found.rule.severity is not Severity.NOTE]


def of_rule(rule_id: str, paths: list[Path]) -> list[Finding]:
    """Return what one rule finds in a set of the migrator's."""
    return [found for found in findings(paths, MULTIFD_PAGE_LEN) if found.rule.id == rule_id]


class Sent(NamedTuple):
    """A packet as the builders' reader sees it."""

    file: str
    offset: int
    epoch: int
    packet: Packet

    def pages(self) -> set[tuple[bytes, int]]:
        """Return the pages it carries: block, offset."""
        count = self.packet.normal + self.packet.zero_pages
        name = self.packet.ramblock
        assert isinstance(name, bytes)
        return {(name, addr) for addr in self.packet.offsets[:count]}


def packets(paths: list[Path], page_size_len: int = MULTIFD_PAGE_LEN) -> Iterator[Sent]:
    """Yield the packets of all channels."""
    for path in paths[1:]:
        channel = read_channel(path.read_bytes(), page_size_len)
        offset, epoch = 25 + len(channel.reserved), 0
        for packet in channel.ram_packets():
            yield Sent(str(path), offset, epoch, packet)
            offset += len(packet.build())
            epoch += packet.flags & SYNC


def overtaken(paths: list[Path]) -> set[tuple[str, int]]:
    """Return each packet with a page that an earlier one of another channel has, in one epoch."""
    sent: dict[tuple[int, bytes, int], list[Sent]] = {}
    for one in packets(paths):
        for name, addr in one.pages():
            sent.setdefault((one.epoch, name, addr), []).append(one)
    late = set()
    for several in sent.values():
        first = min(several, key=lambda one: one.packet.packet_num)
        late |= {(one.file, one.offset) for one in several if one.file != first.file}
    return late


@pytest.mark.parametrize("release", RELEASES)
def test_sender_without_a_bug(release: str, tmp_path: Path) -> None:
    for seed in SEEDS:
        _, paths = save_multifd(seed, tmp_path, release)
        assert findings(paths, MULTIFD_PAGE_LEN) == [], seed


class Rounds(MultifdLayout):
    """Counts the rounds, so that one of them can go wrong."""

    rounds = 0

    def round_end(self) -> None:
        """Count, and go on as ever."""
        self.rounds += 1
        super().round_end()

    @property
    def bad(self) -> bool:
        """Whether this is the round whose sync goes wrong."""
        return self.rounds == BAD_SYNC


class NoSyncAtAll(Rounds):
    """Leaves out a sync: no SYNC, no word; the next round begins as soon as the last page is out.

    What a scan hands over next may then overtake what it handed over before, on another channel.
    """

    def _sync(self, sync: Sync) -> None:
        if self.bad and sync.packet:
            self._flush()
            return
        super()._sync(sync)


@pytest.mark.parametrize("release", PER_ROUND)
def test_page_that_overtook_its_older_version(release: str, tmp_path: Path) -> None:
    named = 0
    for seed in MANY_SEEDS:
        _, paths = save_multifd(seed, tmp_path, release, NoSyncAtAll)
        wrong = overtaken(paths)
        found = [one for one in findings(paths, MULTIFD_PAGE_LEN) if one.rule.id == "QM345"]
        in_channels = {(one.path, one.offset) for one in found}
        assert in_channels <= wrong | overtaking_main(paths)
        assert bool(wrong) <= bool(in_channels & wrong), seed
        named += bool(in_channels & wrong)
    assert named >= FEWEST, "the bug must be there to be found"


def overtaking_main(paths: list[Path]) -> set[tuple[str, int]]:
    """Return the packets with a page that the main stream has as a ZERO record, whenever."""
    with qmig.open_capture(paths[0], page_size_len=MULTIFD_PAGE_LEN) as capture:
        zeros = {
            run.first_page + at
            for batch in capture.records()
            if hasattr(batch, "runs")
            for run in batch.runs
            for at in range(run.count)
        }
    return {
        (one.file, one.offset)
        for one in packets(paths)
        if any(addr // MULTIFD_PAGE_LEN in zeros for _, addr in one.pages())
    }


class NoSyncPackets(Rounds):
    """Leaves out the SYNC packets of a sync, and tells the receiver to wait for them."""

    def _sync_packets(self) -> None:
        if self.bad:
            self._flush()
        else:
            super()._sync_packets()


@pytest.mark.parametrize("release", PER_ROUND)
def test_missed_sync(release: str, tmp_path: Path) -> None:
    at_pages = 0
    for seed in MANY_SEEDS:
        _, paths = save_multifd(seed, tmp_path, release, NoSyncPackets)
        mixed = overtaken(paths)
        epochs = {(one.file, one.offset): one.epoch for one in packets(paths)}
        found = of_rule("QM341", paths)
        if release in ("9.1", "9.2"):
            # One SYNC more than words is right there; without it a set is one of 10.0.
            found = found or of_rule("QM345", paths)
        assert found, seed
        place = (found[0].path, found[0].offset)
        if mixed:
            assert epochs[place] == BAD_SYNC, "the pages of two rounds are mixed from there on"
            at_pages += place in mixed
    assert at_pages >= FEWEST


def one_channel_without_sync(at: int, channel_without: int) -> tuple[type[Rounds], list[int]]:
    """Return a sender that leaves out a SYNC on one channel, and where it did."""
    places: list[int] = []

    class OneChannelWithout(Rounds):
        syncs = 0

        def _sync_packets(self) -> None:
            self.syncs += 1
            super()._sync_packets()

        def _sync_packet(self, channel: int, number: int) -> None:
            if self.syncs != at or channel != channel_without:
                super()._sync_packet(channel, number)
                return
            output = self._outputs[channel]
            assert isinstance(output, MemoryOutput)
            self._channels.submit(
                lambda _: lambda: places.append(len(output.data)), channel=channel
            )

    return OneChannelWithout, places


@pytest.mark.parametrize("release", RELEASES)
def test_sync_on_three_channels_of_four(release: str, tmp_path: Path) -> None:
    told = 0
    for seed in SEEDS:
        kind, places = one_channel_without_sync(at=2 + seed % 3, channel_without=seed % 4)
        _, paths = save_multifd(seed, tmp_path, release, kind)
        if not places:  # SYNC rode on pages that time, or the guest stopped earlier
            continue
        (found,) = of_rule("QM340", paths)
        assert (found.path, found.offset) == (str(paths[1 + seed % 4]), places[0]), seed
        told += 1
    assert told > len(SEEDS) / 2


class FlushAtTheEndOnly(MultifdLayout):
    """Sends the word of the START section with that of the first round."""

    held = 0

    def setup(self, blocks: Sequence[RamBlock]) -> None:
        """Hold the word back."""
        self.held = -1
        super().setup(blocks)

    def _sync(self, sync: Sync) -> None:
        if self.held < 0:
            self.held = 1
            super()._sync(replace(sync, flush_word=False))
            return
        super()._sync(sync)
        if self.held and sync.flush_word:
            self.held = 0
            self._stream.word(RamSaveFlag.MULTIFD_FLUSH)


@pytest.mark.parametrize("release", PER_ROUND)
def test_flush_of_the_start_in_the_first_round(release: str, tmp_path: Path) -> None:
    for seed in SEEDS:
        _, paths = save_multifd(seed, tmp_path, release, FlushAtTheEndOnly)
        (found,) = of_rule("QM343", paths)
        assert found.path == str(paths[0])
        main = paths[0].read_bytes()
        word = int(RamSaveFlag.EOS).to_bytes(8, "big")
        assert found.offset == main.index(word), "at the EOS word that ends the START section"


class FlushOfNewerRelease(MultifdLayout):
    """Sends words though its release knows none."""

    def _sync(self, sync: Sync) -> None:
        super()._sync(replace(sync, flush_word=sync.packet))


@pytest.mark.parametrize("release", ["3.0", "5.0", "7.0"])
def test_flush_of_a_release_that_knows_none(release: str, tmp_path: Path) -> None:
    for seed in SEEDS:
        _, paths = save_multifd(seed, tmp_path, release, FlushOfNewerRelease)
        (found,) = of_rule("QM343", paths)
        word = int(RamSaveFlag.MULTIFD_FLUSH).to_bytes(8, "big")
        assert found.offset == paths[0].read_bytes().index(word)


class FlushBeforeTheZeroPages(Rounds):
    """Sends the word of a round, but the zero pages of the round only behind it."""

    def send(self, block: int, first: int, count: int, *, first_round: bool) -> None:
        """Put the word of the first round in front of its pages."""
        if not self.rounds and not self._early:
            self._early = True
            self._stream.word(RamSaveFlag.MULTIFD_FLUSH)
        super().send(block, first, count, first_round=first_round)

    _early = False

    def _sync(self, sync: Sync) -> None:
        super()._sync(replace(sync, flush_word=False) if self.rounds == 1 else sync)


def test_flush_before_zero_pages_of_its_round(tmp_path: Path) -> None:
    """In 8.1 and 8.2 zero pages go over the main stream: the word must come behind them."""
    named = 0
    for seed in SEEDS:
        _, paths = save_multifd(seed, tmp_path, "8.1", FlushBeforeTheZeroPages)
        zeros = overtaking_main(paths)
        places = {(one.path, one.offset) for one in of_rule("QM345", paths)}
        assert places <= zeros
        epochs = {(one.file, one.offset): one.epoch for one in packets(paths)}
        assert all(epochs[place] == 2 for place in places), "packets of the second round"
        named += bool(places)
    assert named > len(SEEDS) / 2


class NumberTwice(MultifdLayout):
    """Gives a number to two packets."""

    def _next_number(self) -> int:
        number = super()._next_number()
        return number - 1 if number == 9 else number


@pytest.mark.parametrize("release", NUMBERED)
def test_packet_number_twice(release: str, tmp_path: Path) -> None:
    for seed in SEEDS:
        _, paths = save_multifd(seed, tmp_path, release, NumberTwice)
        both = {(one.file, one.offset + 24) for one in packets(paths) if one.packet.packet_num == 8}
        (found,) = findings(paths, MULTIFD_PAGE_LEN)
        assert found.rule.id == "QM330"
        assert (found.path, found.offset) in both
        assert "8" in found.found


# -- sets of the builders -------------------------------------------------------------------------


def written(main: bytes, channels: list[Channel], folder: Path) -> list[Path]:
    """Write a set."""
    paths = [folder / "main", *(folder / f"channel-{at}" for at in range(len(channels)))]
    for path, data in zip(paths, [main, *(one.build() for one in channels)], strict=True):
        path.write_bytes(data)
    return paths


@pytest.mark.parametrize("name", BUILT)
def test_built_set_is_sound(name: str, tmp_path: Path) -> None:
    built = build_set(name)
    channels = [read_channel(data, built.page_size) for data in built.channels]
    assert findings(written(built.main, channels, tmp_path)) == []


@pytest.mark.parametrize("name", BUILT)
def test_sync_that_is_taken_out_of_a_built_set(name: str, tmp_path: Path) -> None:
    built = build_set(name)
    for which in range(len(built.channels)):
        for lacking in (0, built.syncs // 2, built.syncs - 1):
            channels = [read_channel(data, built.page_size) for data in built.channels]
            ram = channels[which].ram_packets()
            index = [at for at, packet in enumerate(ram) if packet.flags & SYNC][lacking]
            pure = not ram[index].normal
            if pure:
                del channels[which].packets[index]
            else:
                channels[which].packets[index] = replace(ram[index], flags=ram[index].flags & ~SYNC)
            paths = written(built.main, channels, tmp_path)
            (found,) = [one for one in findings(paths) if one.rule.id == "QM340"]
            assert found.path == str(paths[1 + which])
            start = 25 if channels[which].layout is Layout.X_MULTIFD else 64
            lengths = [len(packet.build()) for packet in channels[which].packets]
            # A packet that lost its SYNC, or has the number of one, may stand in front.
            last = min(index + 2, len(lengths))
            allowed = [start + sum(lengths[:at]) for at in range(index, last + 1)]
            assert found.offset in (allowed[:1] if pure and name >= "9" else allowed)
