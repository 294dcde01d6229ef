"""The generations of multifd, side by side: packet, initial packet, syncs, zero pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from qmig.errors import WriterError
from qmig.migrate.sync import EACH_SECTION, ROUNDS_8_1, ROUNDS_9_1, ROUNDS_10_0, SyncPolicy
from qmig.wire.multifd import (
    MultifdInit,
    MultifdInit2018,
    MultifdPacket4,
    MultifdPacket7,
    MultifdPacket9,
    MultifdPacket2018,
)

if TYPE_CHECKING:
    from qmig.wire.record import WireRecord


@dataclass(frozen=True, slots=True)
class Generation:
    """How the releases of one generation write a multifd migration.

    Attributes:
        name: first and last release.
        first: first release.
        policy: when channels are brought into step.
        init: the initial packet.
        packet: the packet header.
        zero_in_packets: zero pages go in packets; else as ZERO records on the main stream.
        sync_rides: where a packet with pages is about to leave, SYNC is a flag on it, and a packet
            with neither pages nor SYNC follows (up to 8.2); else SYNC has a packet of its own.
        sync_is_bare: SYNC packets have pages_alloc 0 (9.2 and later); else P.
        stale_sizes: SYNC packets have the next_packet_size of the packet before (5.0 to 8.0).
        compression: whether zlib and zstd are known.
    """

    name: str
    first: tuple[int, int]
    policy: SyncPolicy
    init: type[WireRecord]
    packet: type[WireRecord]
    zero_in_packets: bool
    sync_rides: bool
    sync_is_bare: bool
    stale_sizes: bool
    compression: bool


def _generation(
    name: str,
    first: tuple[int, int],
    policy: SyncPolicy,
    packet: type[WireRecord],
    *,
    compression: bool = True,
) -> Generation:
    return Generation(
        name=name,
        first=first,
        policy=policy,
        init=MultifdInit2018 if packet is MultifdPacket2018 else MultifdInit,
        packet=packet,
        zero_in_packets=packet is MultifdPacket9,
        sync_rides=first < (9, 0),
        sync_is_bare=first >= (9, 2),
        stale_sizes=(5, 0) <= first < (8, 1),
        compression=compression,
    )


GENERATIONS: Final = (
    _generation("3.0 to 3.1", (3, 0), EACH_SECTION, MultifdPacket2018, compression=False),
    _generation("4.0 to 4.2", (4, 0), EACH_SECTION, MultifdPacket4, compression=False),
    _generation("5.0 to 6.2", (5, 0), EACH_SECTION, MultifdPacket4),
    _generation("7.0 to 8.0", (7, 0), EACH_SECTION, MultifdPacket7),
    _generation("8.1 to 8.2", (8, 1), ROUNDS_8_1, MultifdPacket7),
    _generation("9.0", (9, 0), ROUNDS_8_1, MultifdPacket9),
    _generation("9.1", (9, 1), ROUNDS_9_1, MultifdPacket9),
    _generation("9.2", (9, 2), ROUNDS_9_1, MultifdPacket9),
    _generation("10.0 to 11.1", (10, 0), ROUNDS_10_0, MultifdPacket9),
)


def generation_of(release: str | None) -> Generation:
    """Return the generation that a release belongs to; None: the newest.

    Raises:
        WriterError: not a release since 3.0.
    """
    if release is None:
        return GENERATIONS[-1]
    try:
        major, minor = (int(part) for part in release.split("."))
    except ValueError as error:
        raise WriterError(f"{release!r} is not a QEMU release like 8.2") from error
    fitting = [generation for generation in GENERATIONS if generation.first <= (major, minor)]
    if not fitting:
        raise WriterError(f"QEMU {release} has no multifd; it came with 3.0")
    return fitting[-1]
