"""Which QEMU releases can have written a stream, from what its bytes show.

Nothing in a stream names its QEMU. Each piece of evidence leaves a range of releases; what all of
them leave is the answer, and it is often more than one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from qmig.capture.sections import is_salvaged
from qmig.wire.multifd_flags import MultifdCompression

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from qmig.capture.channel import ChannelWalk
    from qmig.capture.stream import StreamWalk

RELEASES: Final = (
    *("2.4", "2.5", "2.6", "2.7", "2.8", "2.9", "2.10", "2.11", "2.12"),
    *("3.0", "3.1", "4.0", "4.1", "4.2", "5.0", "5.1", "5.2", "6.0", "6.1", "6.2"),
    *("7.0", "7.1", "7.2", "8.0", "8.1", "8.2", "9.0", "9.1", "9.2"),
    *("10.0", "10.1", "10.2", "11.0", "11.1"),
)


@dataclass(frozen=True)
class Evidence:
    """One thing that the bytes show.

    Attributes:
        what: in words.
        releases: those that it leaves.
    """

    what: str
    releases: frozenset[str]


def between(first: str | None, last: str | None) -> frozenset[str]:
    """Return the releases from `first` to `last`, both included; None: no bound."""
    low = RELEASES.index(first) if first else 0
    high = RELEASES.index(last) if last else len(RELEASES) - 1
    return frozenset(RELEASES[low : high + 1])


def possible_releases(evidence: Iterable[Evidence]) -> tuple[str, ...]:
    """Return the releases that all evidence leaves, oldest first; empty: it contradicts itself."""
    left = set(RELEASES)
    for piece in evidence:
        left &= piece.releases
    return tuple(release for release in RELEASES if release in left)


def describe_releases(releases: Sequence[str]) -> str:
    """Return releases in words: `8.1 to 9.0`, `10.0 or newer`, `4.0, or 8.0 to 8.2`."""
    if not releases:
        return "unknown: what it shows belongs to different releases"
    groups: list[list[str]] = []
    for release in releases:
        previous = groups[-1][-1] if groups else None
        if previous is not None and RELEASES.index(previous) + 1 == RELEASES.index(release):
            groups[-1].append(release)
        else:
            groups.append([release])
    return ", or ".join(_describe_group(group) for group in groups)


def _describe_group(group: list[str]) -> str:
    if group[-1] == RELEASES[-1]:
        return "any" if group[0] == RELEASES[0] else f"{group[0]} or newer"
    if group[0] == RELEASES[0]:
        return f"{group[-1]} or older"
    return group[0] if len(group) == 1 else f"{group[0]} to {group[-1]}"


def stream_evidence(walk: StreamWalk) -> list[Evidence]:
    """Return what the main stream shows."""
    found: list[Evidence] = []

    def shows(condition: object, what: str, first: str | None, last: str | None) -> None:
        if condition:
            found.append(Evidence(what, between(first, last)))

    configuration = walk.configuration
    if configuration is not None:
        version = next((p for p in configuration.machine.split("-") if p in RELEASES), None)
        shows(version, f"machine type {configuration.machine}", version, None)
        capabilities = configuration.capabilities or ()
        shows("mapped-ram" in capabilities, "capability mapped-ram", "9.0", None)
        shows("x-ignore-shared" in capabilities, "capability x-ignore-shared", "4.0", None)
    shows(walk.counters.flush_words, "MULTIFD_FLUSH words", "8.1", None)
    commands = {command.name for command in walk.commands}
    shows("SWITCHOVER_START" in commands, "command SWITCHOVER_START", "10.0", None)
    # That of a salvaged stream is not its QEMU's.
    description = None if is_salvaged(walk) else walk.vmdescription
    if description is not None:
        configured = description.has_configuration
        shows(configured, "vmdescription of the configuration", "8.1", None)
        shows(not configured, "no configuration in the vmdescription", None, "8.2")
        shows(description.blanks, "blanks in the vmdescription", None, "7.1")
        shows(not description.blanks, "no blanks in the vmdescription", "6.0", None)
    return found


def channel_evidence(
    channels: Sequence[ChannelWalk], markers: int | None, flush_words: int
) -> list[Evidence]:
    """Return what a set of multifd channels shows.

    Args:
        channels: the walks over them, finished.
        markers: MULTIFD_FLUSH words of the main stream; None where it is not there.
        flush_words: the same, 0 where it is not there.
    """
    found: list[Evidence] = []
    if any(channel.layout_2018 for channel in channels):
        return [Evidence("initial packets of 25 bytes", between("3.0", "3.1"))]
    if channels:
        found.append(Evidence("initial packets of 64 bytes", between("4.0", None)))
    counts = [channel.counters for channel in channels]
    methods = set().union(*(count.methods for count in counts)) if counts else set()
    for method, first in (
        (MultifdCompression.ZLIB, "5.0"),
        (MultifdCompression.ZSTD, "5.0"),
        (MultifdCompression.QPL, "9.1"),
        (MultifdCompression.UADK, "9.1"),
        (MultifdCompression.QATZIP, "9.2"),
    ):
        if method in methods:
            found.append(Evidence(f"{method.name.lower()} payloads", between(first, None)))
    found += [rule for make in _CHANNEL_RULES if (rule := make(channels)) is not None]
    syncs = min((count.syncs for count in counts), default=0)
    if markers is not None and flush_words and channels:
        if syncs == flush_words + 1:
            found.append(Evidence("one SYNC more than MULTIFD_FLUSH", between("9.1", "9.2")))
        elif syncs == flush_words:
            not_those = between(None, "9.0") | between("10.0", None)
            found.append(Evidence("as many SYNCs as MULTIFD_FLUSH", not_those))
    return found


def _zero_pages(channels: Sequence[ChannelWalk]) -> Evidence | None:
    if any(channel.counters.zero_pages for channel in channels):
        return Evidence("zero pages in packets", between("9.0", None))
    return None


def _device_state(channels: Sequence[ChannelWalk]) -> Evidence | None:
    if any(channel.counters.device_state_packets for channel in channels):
        return Evidence("device state in packets", between("10.0", None))
    return None


def _separate_syncs(channels: Sequence[ChannelWalk]) -> Evidence | None:
    syncs = sum(channel.counters.syncs for channel in channels)
    alloc_zero = sum(channel.counters.syncs_alloc_zero for channel in channels)
    if syncs and alloc_zero == syncs:
        return Evidence("SYNC packets with pages_alloc 0", between("9.2", None))
    if syncs:
        return Evidence("SYNC packets with pages_alloc not 0", between(None, "9.1"))
    return None


def _stale_sizes(channels: Sequence[ChannelWalk]) -> Evidence | None:
    if any(channel.counters.stale_sizes for channel in channels):
        return Evidence(
            "next_packet_size left over in packets without pages", between("5.0", "8.0")
        )
    empties = sum(
        channel.counters.empty_packets + channel.counters.syncs - channel.counters.syncs_with_pages
        for channel in channels
        # The first packet of a channel has no size to leave over.
        if channel.counters.data_packets
    )
    first_syncs = sum(1 for channel in channels if channel.counters.data_packets)
    if empties > first_syncs:
        left = between(None, "4.2") | between("8.0", None)
        return Evidence("next_packet_size 0 in packets without pages", left)
    return None


def _resent_batches(channels: Sequence[ChannelWalk]) -> Evidence | None:
    syncs = sum(channel.counters.syncs_with_pages for channel in channels)
    resent = sum(channel.counters.resent_batches for channel in channels)
    several = 2
    if resent >= several and resent == syncs:
        return Evidence("each SYNC packet sends the batch before it again", between("4.1", "4.2"))
    return None


def _merged_syncs(channels: Sequence[ChannelWalk]) -> Evidence | None:
    if any(channel.counters.syncs_with_pages for channel in channels):
        return Evidence("SYNC together with pages", between(None, "8.2"))
    return None


_CHANNEL_RULES: Final[tuple[Callable[[Sequence[ChannelWalk]], Evidence | None], ...]] = (
    _zero_pages,
    _device_state,
    _separate_syncs,
    _stale_sizes,
    _resent_batches,
    _merged_syncs,
)
