"""What a multifd migration is made of: how a generation does it, its guest, its result."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from tests.builders.guest import Guest
from tests.builders.multifd import Layout


class SyncPoints(Enum):
    """Where the channels are brought into step, and what main shows of it."""

    SECTION = "at the end of START, each PART and END; the end-of-section word is the marker"
    ROUND_AND_END = "in START, where the scan wraps, and once more in END; always a FLUSH word"
    ROUND_AND_SILENT_END = "the same, but the last one in END has no FLUSH word"
    ROUND = "in START and where the scan wraps; always a FLUSH word"


@dataclass(frozen=True)
class Generation:
    """How one generation writes a multifd migration.

    Attributes:
        release: The key of machine.RELEASES.
        machine: The machine's name.
        sync_points: Where SYNC packets go.
        layout: The packets' layout.
        capacity: Pages a packet has room for; None for half a MiB of them.
        separate_sync: SYNC has packets of its own (9.0 and later).
        empty_sync_capacity: `pages_alloc` of those: 0 from 9.2 on; None for the usual one.
        stale_size: Empty packets keep the previous next_packet_size (5.2 to 7.2).
        resends_batch: SYNC packets carry the channel's last pages again (4.2).
        merges_sync: SYNC sometimes leaves on a packet with pages (3.x to 8.2).
        doubles_boundary: The last page of a full packet sometimes opens the next one too.
        zero_pages_in_packets: Zero pages go over channels, not over main (9.0 and later).
        init_reserved: The init packet's last bytes; 4.2 leaves there what its stack held.
        postcopy: The guest is switched over before all pages are sent (10.1 and later).
    """

    release: str
    machine: str
    sync_points: SyncPoints = SyncPoints.SECTION
    layout: Layout = Layout.MULTIFD
    capacity: int | None = None
    separate_sync: bool = False
    empty_sync_capacity: int | None = None
    stale_size: bool = False
    resends_batch: bool = False
    merges_sync: bool = True
    doubles_boundary: bool = False
    zero_pages_in_packets: bool = False
    init_reserved: bytes = bytes(39)
    postcopy: bool = False

    @property
    def flushes(self) -> bool:
        """Whether main carries FLUSH words."""
        return self.sync_points is not SyncPoints.SECTION

    def flushing_each_section(self) -> "Generation":
        """Give the same release with a machine type of 8.0 or older."""
        return replace(
            self,
            machine="pc-i440fx-8.0",
            sync_points=SyncPoints.SECTION,
            zero_pages_in_packets=False,
        )


@dataclass(frozen=True)
class Workload:
    """What the guest does and how its pages are cut into sections.

    Attributes:
        guest: Fresh RAM, before anything was written.
        rounds: What the guest writes before each scan; the last one before it stops.
        part_pages: How many pages a PART takes at most.
    """

    guest: Guest
    rounds: Sequence[Callable[[Guest], None]]
    part_pages: int = 200


@dataclass(frozen=True)
class MigrationSet:
    """A whole migration.

    Attributes:
        generation: Who wrote it.
        main: The main connection.
        channels: The channels in order of arrival, which is not that of their ids.
        expected: What RAM must be in the end.
        syncs: How many SYNC packets each channel has.
        markers: How many markers main has.
        page_size: The target's page size.
    """

    generation: Generation
    main: bytes
    channels: tuple[bytes, ...]
    expected: dict[str, bytes]
    syncs: int
    markers: int
    page_size: int
