"""What every check has: it is fed with a capture in the order of its bytes, and reports."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from qmig.capture.capture import Capture
    from qmig.capture.channel import ChannelWalk, Packet
    from qmig.capture.container import Container
    from qmig.capture.records import PageBatch, Record
    from qmig.capture.stream import StreamWalk
    from qmig.checks.finding import Finding
    from qmig.errors import QmigError

    Walk = StreamWalk | ChannelWalk


class Context:
    """What checks know of the capture while it is walked, and where they report.

    Attributes:
        capture: the capture; its survey may be asked for what needs a whole pass.
        walk: the walk over the main stream; what it has built up so far is there to be asked.
            None where there is no main stream.
        report: called as `report(rule_id, container, offset=, length=, record=, expected=, found=,
            field=, hint=, **values)`; `values` fill the rule's message.
        unjudged: why parts of the capture could not be judged; checks add to it.
    """

    def __init__(
        self,
        capture: Capture,
        walk: StreamWalk | None,
        report: Callable[..., Finding | None],
        unjudged: list[QmigError] | None = None,
    ) -> None:
        self.capture = capture
        self.walk = walk
        self.report = report
        self.unjudged = [] if unjudged is None else unjudged


class Check:
    """One look at a capture; subclasses override what they need.

    A check lives for one pass: first the main stream from front to end, then the connections that
    resumed it, then channel after channel by id. It must hold no more than a bounded memory.

    Attributes:
        RECORDS: names of the records (`Record.name`) that `record` is called with. Those of a
            multifd packet are not made for it where nothing about the packet is out of the
            ordinary: `packet` has it all.
    """

    RECORDS: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, context: Context) -> None:
        self.context = context

    def record(self, container: Container, record: Record) -> None:
        """Look at a record of one of the names in `RECORDS`."""

    def batch(self, container: Container, batch: PageBatch) -> None:
        """Look at page records of the main stream; called only where a subclass overrides it."""

    def packet(self, container: Container, walk: ChannelWalk, packet: Packet) -> None:
        """Look at a packet of a channel; called only where a subclass overrides it."""

    def file_end(self, container: Container, walk: Walk) -> None:
        """Look back at a file whose walk has ended, at its end or at an error."""

    def end(self) -> None:
        """Look back at the whole capture."""
