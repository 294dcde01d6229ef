"""Commands that can be read, and are wrong where they stand or in what they say."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar, Final

from qmig.capture.container import Role
from qmig.capture.ram_record import text_of
from qmig.capture.stream import StreamWalk
from qmig.checks.check import Check, Context
from qmig.wire.framing import (
    CommandHead,
    PingPayload,
    PostcopyAdvisePayload,
    RamDiscardHead,
    RamDiscardRange,
    RecvBitmapPayload,
)
from qmig.wire.record import field_table

if TYPE_CHECKING:
    from qmig.capture.container import Container
    from qmig.capture.records import Record
    from qmig.checks.check import Walk
    from qmig.memory import RamBlock
    from qmig.wire.record import WireRecord


# Of the hosts that QEMU runs on; others have larger pages, and none has several sizes.
_LEAST_HOST_PAGE: Final = 4096


class PostcopyState(IntEnum):
    """States of a destination. Prefix in QEMU: POSTCOPY_INCOMING_ (migration/postcopy-ram.h)."""

    NONE = 0
    ADVISE = 1
    DISCARD = 2
    LISTENING = 3
    RUNNING = 4


class CommandCheck(Check):
    """Follows the states of postcopy as a destination does, and looks into payloads."""

    RECORDS: ClassVar[frozenset[str]] = frozenset({"command", "command payload"})

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._state = PostcopyState.NONE
        self._return_path = False
        self._ram_advised = False
        self._head: CommandHead | None = None
        self._name = ""
        self._discarded: RamBlock | None = None
        self._advise: tuple[Record, PostcopyAdvisePayload] | None = None

    # -- commands ---------------------------------------------------------------------------------

    def record(self, container: Container, record: Record) -> None:
        """Look at a command or at its payload."""
        if isinstance(record.wire, CommandHead):
            self._head = record.wire
            self._name = record.detail["command"]
            self._command(container, record, self._name)
        elif record.wire is not None:
            self._payload(container, record, record.wire)

    def _command(self, container: Container, record: Record, name: str) -> None:
        state = self._state
        if name == "OPEN_RETURN_PATH":
            self._return_path = True
        elif name == "POSTCOPY_ADVISE":
            self._ram_advised = bool(self._head and self._head.len)
            if state is not PostcopyState.NONE:
                self._misplaced("QM043", container, record, "no second announcement of postcopy")
            else:
                self._state = PostcopyState.ADVISE
        elif name == "POSTCOPY_LISTEN":
            if state not in (PostcopyState.ADVISE, PostcopyState.DISCARD):
                self._misplaced("QM047", container, record, "ADVISE or DISCARD before it")
            self._state = PostcopyState.LISTENING
        elif name == "POSTCOPY_RUN":
            if state is not PostcopyState.LISTENING:
                self._misplaced("QM048", container, record, "LISTEN before it")
            self._state = PostcopyState.RUNNING
        elif name == "POSTCOPY_RAM_DISCARD":
            self._discard(container, record)
        elif name == "POSTCOPY_RESUME" and container.role is not Role.RECOVERY:
            self._wrong(
                "QM060", container, record, None, "a connection that resumes another", "a first one"
            )

    def _misplaced(self, rule_id: str, container: Container, record: Record, expected: str) -> None:
        self._wrong(
            rule_id,
            container,
            record,
            None,
            expected,
            f"it in the state {self._state.name}",
            state=int(self._state),
        )

    def _discard(self, container: Container, record: Record) -> None:
        if self._state not in (PostcopyState.ADVISE, PostcopyState.DISCARD):
            self._misplaced("QM049", container, record, "ADVISE before it and no LISTEN")
            return
        self._state = PostcopyState.DISCARD
        if not self._ram_advised:
            self._wrong(
                "QM045",
                container,
                record,
                None,
                "16 bytes in POSTCOPY_ADVISE, for RAM goes by postcopy",
                "an empty one",
            )

    # -- payloads ---------------------------------------------------------------------------------

    def _payload(self, container: Container, record: Record, wire: WireRecord) -> None:
        if isinstance(wire, PingPayload):
            if not self._return_path and container.role is not Role.RECOVERY:
                self._wrong(
                    "QM042",
                    container,
                    record,
                    "value",
                    "OPEN_RETURN_PATH before the first PING",
                    f"PING {wire.value}",
                    value=wire.value,
                )
        elif isinstance(wire, PostcopyAdvisePayload):
            self._advised(container, record, wire)
        elif isinstance(wire, RamDiscardHead):
            self._discard_head(container, record, wire)
        elif isinstance(wire, RamDiscardRange):
            self._discard_range(container, record, wire)
        elif isinstance(wire, RecvBitmapPayload):
            self._recv_bitmap(container, record, wire)

    def _advised(self, container: Container, record: Record, wire: PostcopyAdvisePayload) -> None:
        del container  # judged at its end, when the page size and the blocks are known
        self._advise = record, wire

    def file_end(self, container: Container, walk: Walk) -> None:
        """Hold what POSTCOPY_ADVISE says against the stream behind it."""
        advise, self._advise = self._advise, None
        if advise is None or not isinstance(walk, StreamWalk) or walk.page_size is None:
            return
        record, wire = advise
        self._name = "POSTCOPY_ADVISE"
        told = 0  # page sizes that the block list tells; the others are those of the host
        for block in walk.blocks:
            told |= block.page_size or 0
        host = wire.page_size_summary & ~told
        if told & ~wire.page_size_summary or host.bit_count() > 1 or 0 < host < _LEAST_HOST_PAGE:
            self._wrong(
                "QM046",
                container,
                record,
                "page_size_summary",
                f"the page sizes of the block list, 0x{told:x}, and that of a host",
                f"0x{wire.page_size_summary:x}",
                says=f"RAM page sizes (s={wire.page_size_summary:x} d={told | _LEAST_HOST_PAGE:x})",
            )
        size = walk.page_size
        if wire.target_page_size != size.length:
            self._wrong(
                "QM046",
                container,
                record,
                "target_page_size",
                f"{size.length} ({size.origin})",
                str(wire.target_page_size),
                says=f"target page sizes (s={wire.target_page_size} d={size.length})",
            )

    def _discard_head(self, container: Container, record: Record, wire: RamDiscardHead) -> None:
        name = text_of(wire.block_name)
        length = self._head.len if self._head else 0
        self._discarded = self._block(name)
        if length == record.length:
            self._wrong(
                "QM052", container, record, "ranges", "one range at least", "none", len=length
            )
        if wire.version != 0:
            self._wrong(
                "QM050",
                container,
                record,
                "version",
                "0",
                str(wire.version),
                version=wire.version,
            )
        if wire.nul != 0:
            self._wrong("QM051", container, record, "nul", "0", str(wire.nul), nul=wire.nul)
        if self._discarded is None:
            self._wrong(
                "QM053",
                container,
                record,
                "block_name",
                "the name of a block in the block list",
                repr(name),
                block=name,
            )

    def _discard_range(self, container: Container, record: Record, wire: RamDiscardRange) -> None:
        block, walk = self._discarded, self.context.walk
        if block is None or walk is None:
            return
        if wire.start_addr + wire.length > block.used_length:
            self._wrong(
                "QM054",
                container,
                record,
                "start_addr and length",
                f"a range inside {block.name}, which has 0x{block.used_length:x} bytes",
                f"0x{wire.start_addr:x} and 0x{wire.length:x}",
                block=block.name,
                start=wire.start_addr,
                len=wire.length,
                block_len=block.used_length,
            )
            return
        size = walk.page_size.length if walk.page_size else 1
        if wire.start_addr % size or wire.length % size:
            self._wrong(
                "QM061",
                container,
                record,
                "start_addr and length",
                f"multiples of the page size, {size}",
                f"0x{wire.start_addr:x} and 0x{wire.length:x}",
            )

    def _recv_bitmap(self, container: Container, record: Record, wire: RecvBitmapPayload) -> None:
        name = text_of(wire.block_name)
        length = self._head.len if self._head else 0
        if length != record.length:
            self._wrong(
                "QM059",
                container,
                record,
                "block_name",
                f"a name of {length - 1} bytes, as the command's length says",
                f"one of {len(wire.block_name)}",
                len=length,
            )
        elif self._block(name) is None:
            self._wrong(
                "QM058",
                container,
                record,
                "block_name",
                "the name of a block in the block list",
                repr(name),
                block=name,
            )

    def _block(self, name: str) -> RamBlock | None:
        blocks = self.context.walk.blocks if self.context.walk else []
        return next((block for block in blocks if block.name == name), None)

    def _wrong(
        self,
        rule_id: str,
        container: Container,
        record: Record,
        field: str | None,
        expected: str,
        found: str,
        **values: int | str,
    ) -> None:
        at = field_table(type(record.wire)).get(field or "") if record.wire else None
        self.context.report(
            rule_id,
            container,
            offset=record.offset + (at[0] if at else 0),
            length=at[1] if at else record.length,
            record=f"command {self._name}",
            field=field,
            expected=expected,
            found=found,
            **values,
        )
