"""Commands in the main stream: payloads read through their schemas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qmig.capture.records import Record
from qmig.capture.sections import COMMANDS_OF_3_0, Command, command_name
from qmig.capture.source import Cursor
from qmig.errors import MalformedStreamError, naming_cut
from qmig.faults import Fault
from qmig.limits import MAX_DISCARD_RANGES
from qmig.wire.framing import (
    MIG_CMD_LEN,
    CommandHead,
    MigCmd,
    PackagedPayload,
    PingPayload,
    PostcopyAdvisePayload,
    RamDiscardHead,
    RamDiscardRange,
    RecvBitmapPayload,
)
from qmig.wire.gate import read_record
from qmig.wire.record import field_table, fixed_len

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qmig.wire.record import WireRecord


class CommandReader:
    """Reads one command at a cursor.

    Attributes:
        command: what was read; set once `read` has yielded its records.
        packaged_len: bytes of embedded elements that follow; 0 unless it is PACKAGED.
    """

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self.command: Command | None = None
        self.packaged_len = 0

    def read(self) -> Iterator[Record]:
        """Yield the command's records.

        Raises:
            StreamError: the command is damaged, unknown, or of a wrong length.
        """
        cursor = self._cursor
        start = cursor.offset
        head = read_record(cursor, CommandHead, what="command")
        name = self._name(head, start)
        command = Command(head.command, name, start, cursor.offset - start + head.len, {})
        yield Record(start, cursor.offset - start, "command", head, command=name)
        payload = Cursor(cursor.source, cursor.offset, limit=cursor.offset + head.len)
        if cursor.peek(head.len)[head.len - 1 :] == b"" and head.len:
            cursor.read_exact(head.len, what=f"command {name}", field="payload")
        for record in self._payload(name, payload, command):
            cursor.offset = payload.offset
            yield record
        cursor.offset = start + command.length
        self.command = command

    def _name(self, head: CommandHead, start: int) -> str:
        number = head.command
        # The one length that tells 3.0 from later: RESUME has no payload, RECV_BITMAP has.
        if number == MigCmd.POSTCOPY_RESUME and head.len:
            return COMMANDS_OF_3_0[number]
        table = field_table(CommandHead)
        if number not in set(MigCmd) or number == MigCmd.INVALID:
            raise MalformedStreamError(
                path=self._cursor.name,
                offset=start + table["command"][0],
                record="command",
                field="command",
                expected="1 to 11",
                found=f"{number} (with {head.len} bytes)",
                fault=Fault.COMMAND_NUMBER,
                values={"command": number, "len": head.len},
            )
        expected = MIG_CMD_LEN[MigCmd(number)]
        advise = number == MigCmd.POSTCOPY_ADVISE
        wrong_advise = advise and head.len not in (0, fixed_len(PostcopyAdvisePayload))
        if wrong_advise or (expected is not None and expected != head.len):
            raise MalformedStreamError(
                path=self._cursor.name,
                offset=start + table["len"][0],
                record=f"command {command_name(number)}",
                field="len",
                expected="0 or 16" if advise else str(expected),
                found=str(head.len),
                fault=Fault.ADVISE_LEN if advise else Fault.COMMAND_LEN,
                values={
                    "command": MigCmd(number).name,
                    "len": head.len,
                    "wanted_len": expected or 0,
                },
            )
        return command_name(number)

    def _payload(self, name: str, payload: Cursor, command: Command) -> Iterator[Record]:
        detail = command.detail
        what = f"command {name}"
        if name == "PING":
            yield self._read(payload, PingPayload, what, detail)
        elif name == "POSTCOPY_ADVISE" and not payload.at_end():
            yield self._read(payload, PostcopyAdvisePayload, what, detail)
        elif name == "RECV_BITMAP":
            with naming_cut(Fault.RECV_BITMAP_LEN, len=_left(payload)):
                asked = self._read(payload, RecvBitmapPayload, what, detail)
            yield asked
        elif name == "PACKAGED":
            yield self._read(payload, PackagedPayload, what, detail)
            self.packaged_len = int(detail["length"])
        elif name == "POSTCOPY_RAM_DISCARD":
            with naming_cut(Fault.DISCARD_LEN, len=_left(payload)):
                discarded = self._read(payload, RamDiscardHead, what, detail)
            yield discarded
            ranges: list[dict[str, Any]] = []
            detail["ranges"] = ranges
            detail["range_count"] = 0
            self._check_ranges(payload)
            while not payload.at_end():
                record = self._read(payload, RamDiscardRange, what, {})
                detail["range_count"] += 1
                if len(ranges) < MAX_DISCARD_RANGES:
                    ranges.append(record.detail)
                yield record
        rest = payload.peek(1 << 16)
        if rest:  # a payload longer than what is known of it
            yield Record(payload.offset, len(rest), "command payload", None, command=name)

    def _read(
        self, payload: Cursor, kind: type[WireRecord], what: str, detail: dict[str, Any]
    ) -> Record:
        start = payload.offset
        wire = read_record(payload, kind, what=what)
        for key, value in wire.as_dict().items():
            detail[key] = (
                value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
            )
        return Record(start, payload.offset - start, "command payload", wire, **detail)

    def _check_ranges(self, payload: Cursor) -> None:
        left = _left(payload)
        if left % fixed_len(RamDiscardRange):
            raise MalformedStreamError(
                path=self._cursor.name,
                offset=payload.offset,
                record="command POSTCOPY_RAM_DISCARD",
                field="ranges",
                expected=f"ranges of {fixed_len(RamDiscardRange)} bytes",
                found=f"{left} bytes for them",
                fault=Fault.DISCARD_LEN,
                values={"len": left},
            )


def _left(payload: Cursor) -> int:
    return (payload.limit or payload.offset) - payload.offset
