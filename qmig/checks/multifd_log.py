"""What is kept of the channels of a set until all of them have been read.

Channels are read one after another, but they are judged side by side: so each packet leaves its
offset and number, and its pages leave runs. Columns of machine integers, not objects.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from qmig.capture.page_size import DEFAULT_PAGE_SIZE_LEN
from qmig.limits import MAX_JUDGED_PACKETS, MAX_JUDGED_PAGE_RUNS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np

    from qmig.capture.channel import ChannelWalk, Packet
    from qmig.capture.container import Container
    from qmig.memory import PageRun, RamBlock

NO_NUMBER: Final = (1 << 64) - 1  # of a packet with device state
_FEW_RUNS: Final = 50_000  # are compared in less time than numpy takes to be imported
_KEYS: Final = 1 << 62  # epoch and page are compared as one number
MAIN: Final = 0xFFFF  # the main stream among the connections; channels count from 0


class ChannelLog:
    """The packets of one channel, by their index.

    Attributes:
        container: the file.
        walk: the walk over it.
        offsets: of the packets.
        numbers: their packet_num.
        syncs: indexes of the packets with SYNC.
        first_pages: SYNCs before -> index of the first packet with pages behind them; but not one
            that sends the pages of a SYNC packet again, as 4.2 does.
        full: whether there were more than `MAX_JUDGED_PACKETS`.
    """

    def __init__(self, container: Container, walk: ChannelWalk) -> None:
        self.container = container
        self.walk = walk
        self.offsets = array("Q")
        self.numbers = array("Q")
        self.syncs = array("I")
        self.first_pages: dict[int, int] = {}
        self.full = False
        self._synced: tuple[str, tuple[int, ...]] | None = None

    def add(self, packet: Packet) -> None:
        """Add the next packet."""
        if len(self.offsets) >= MAX_JUDGED_PACKETS:
            self.full = True
            return
        index = len(self.offsets)
        pages = (packet.block, packet.normal_pages)
        if (packet.normal_pages or packet.zero_pages) and pages != self._synced:
            self.first_pages.setdefault(len(self.syncs), index)
        self._synced = pages if packet.sync else None
        if packet.sync and not packet.device_state:
            self.syncs.append(index)
        self.offsets.append(packet.offset)
        self.numbers.append(NO_NUMBER if packet.packet_num is None else packet.packet_num)


class Repeat(NamedTuple):
    """A page that comes twice between two syncs.

    Attributes:
        epoch: SYNCs before it.
        page: its place among the pages of all blocks.
        first: connection and packet index of one, `MAIN` and 0 for the main stream.
        second: of the other.
    """

    epoch: int
    page: int
    first: tuple[int, int]
    second: tuple[int, int]


class PageLog:
    """Which pages each connection carries between which syncs.

    Pages count through all blocks in the order of the block list.

    Attributes:
        full: whether there were more than `MAX_JUDGED_PAGE_RUNS` runs.
    """

    def __init__(self, blocks: Sequence[RamBlock], page_size_len: int | None) -> None:
        self.full = False
        self._size = page_size_len or DEFAULT_PAGE_SIZE_LEN
        self._blocks = list(blocks)
        self._bases: dict[str, tuple[int, int]] = {}
        self._starts: list[int] = []
        self._total = 0
        for block in blocks:
            pages = block.pages(self._size)
            self._bases[block.name] = (self._total, pages)
            self._starts.append(self._total)
            self._total += pages
        self._columns = {
            name: array(code)
            for name, code in (
                ("epoch", "I"),
                ("page", "q"),
                ("count", "q"),
                ("connection", "H"),
                ("packet", "I"),
            )
        }

    def place(self, page: int) -> str:
        """Return a page's block and offset, in words."""
        index = bisect_right(self._starts, page) - 1
        return f"{self._blocks[index].name} 0x{(page - self._starts[index]) * self._size:x}"

    def add_packet(self, connection: int, epoch: int, index: int, packet: Packet) -> None:
        """Add the pages of a packet; pages outside their block are left out."""
        base, pages = self._bases.get(packet.block, (0, 0))
        run = packet.page_run(self._size)
        runs = [(run[0] // self._size, len(run))] if run else _runs(packet, self._size)
        for first, count in runs:
            if first + count <= pages:
                self._add(epoch, base + first, count, connection, index)

    def add_main(self, epoch: int, runs: Sequence[PageRun]) -> None:
        """Add page records of the main stream."""
        for run in runs:
            if run.block < len(self._starts):
                self._add(epoch, self._starts[run.block] + run.first_page, run.count, MAIN, 0)

    def _add(self, epoch: int, page: int, count: int, connection: int, packet: int) -> None:
        columns = self._columns
        if len(columns["page"]) >= MAX_JUDGED_PAGE_RUNS:
            self.full = True
            return
        columns["epoch"].append(epoch)
        columns["page"].append(page)
        columns["count"].append(count)
        columns["connection"].append(connection)
        columns["packet"].append(packet)

    def repeats(self, *, main: bool) -> Iterator[Repeat]:
        """Yield pages that come twice in an epoch, by epoch and page.

        Args:
            main: whether the main stream's pages count.
        """
        few = len(self._columns["page"]) <= _FEW_RUNS
        if few and not self._any_twice(main=main):
            return
        import numpy as np

        columns: dict[str, np.ndarray[Any, Any]] = {
            name: np.frombuffer(column, dtype=column.typecode) if column else np.empty(0, np.int64)
            for name, column in self._columns.items()
        }
        epochs = int(columns["epoch"].max(initial=0)) + 1
        if not len(columns["page"]) or epochs * self._total >= _KEYS:
            return
        start = columns["epoch"].astype(np.int64) * self._total + columns["page"]
        order = np.argsort(start, kind="stable")
        if not main:
            order = order[columns["connection"][order] != MAIN]
        start, end = start[order], (start + columns["count"])[order]
        reach = np.maximum.accumulate(end)
        widest = np.maximum.accumulate(np.where(end == reach, np.arange(len(end)), 0))
        for at in (np.flatnonzero(start[1:] < reach[:-1]) + 1).tolist():
            one, other = int(order[widest[at - 1]]), int(order[at])
            epoch, page = divmod(int(start[at]), self._total)
            yield Repeat(epoch, page, self._origin(one), self._origin(other))

    def _any_twice(self, *, main: bool) -> bool:
        """Tell whether any page comes twice in an epoch, without the import of numpy."""
        columns = self._columns
        rows = zip(*(columns[n] for n in ("epoch", "page", "count", "connection")), strict=True)
        keys = sorted(
            (epoch * self._total + page, count)
            for epoch, page, count, connection in rows
            if main or connection != MAIN
        )
        return any(start + count > following for (start, count), (following, _) in pairwise(keys))

    def _origin(self, run: int) -> tuple[int, int]:
        return self._columns["connection"][run], self._columns["packet"][run]


def _runs(packet: Packet, size: int) -> Iterator[tuple[int, int]]:
    """Yield first page and count of each run of a packet's pages, ascending."""
    first = last = -2
    for addr in sorted(packet.normal_pages + packet.zero_pages):
        page = addr // size
        if page == last + 1:
            last = page
            continue
        if first >= 0:
            yield first, last - first + 1
        first = last = page
    if first >= 0:
        yield first, last - first + 1
