"""The initial packets of a set of channels: ids, UUIDs, reserved bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final
from uuid import UUID

from qmig.capture.channel import ChannelWalk
from qmig.checks.check import Check, Context
from qmig.wire.multifd import MultifdInit, MultifdPacket9
from qmig.wire.record import field_table

if TYPE_CHECKING:
    from qmig.capture.container import Container
    from qmig.capture.records import Record
    from qmig.checks.check import Walk
    from qmig.wire.multifd import MultifdInit2018

_UUID: Final = field_table(MultifdInit)["uuid"]
_ID: Final = field_table(MultifdInit)["id"]


class ChannelSetCheck(Check):
    """Compares the initial packets of all channels with one another and the main stream."""

    RECORDS: ClassVar[frozenset[str]] = frozenset(
        {"multifd initial packet", "multifd packet header"}
    )

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._channels: list[tuple[Container, int, MultifdInit | MultifdInit2018]] = []

    def record(self, container: Container, record: Record) -> None:
        """Look at the reserved bytes of a packet."""
        wire = record.wire
        if isinstance(wire, MultifdInit):
            what = f"multifd channel {wire.id} initial packet"
            reserved: dict[str, bool] = {"unused1": any(wire.unused1), "unused2": any(wire.unused2)}
        elif isinstance(wire, MultifdPacket9):
            what = record.name
            reserved = {"unused32": wire.unused32 != 0, "unused64": any(wire.unused64)}
        else:
            return
        for name, used in reserved.items():
            if used:
                offset, length = field_table(type(wire))[name]
                self.context.report(
                    "QM304",
                    container,
                    offset=record.offset + offset,
                    length=length,
                    record=what,
                    field=name,
                    expected="zeros",
                    found="other bytes",
                )

    def file_end(self, container: Container, walk: Walk) -> None:
        """Remember a channel."""
        if isinstance(walk, ChannelWalk) and walk.init is not None:
            self._channels.append((container, walk.start_offset, walk.init))

    def end(self) -> None:
        """Compare the channels."""
        self._uuids()
        seen: dict[int, Container] = {}
        for container, start, init in self._channels:
            if init.id in seen:
                self._twice(container, start, init.id, seen[init.id])
            seen.setdefault(init.id, container)
        if seen and max(seen) >= len(seen):
            self._missing(seen)

    def _uuids(self) -> None:
        walk = self.context.walk
        recorded = walk.configuration.uuid if walk and walk.configuration else None
        whose = "that of the main stream's configuration"
        wanted = recorded.bytes if recorded else None
        for container, start, init in sorted(self._channels, key=lambda channel: channel[2].id):
            if wanted is None:
                wanted, whose = init.uuid, f"that of channel {init.id}"
            if init.uuid != wanted:
                self.context.report(
                    "QM301",
                    container,
                    offset=start + _UUID[0],
                    length=_UUID[1],
                    record=f"multifd channel {init.id} initial packet",
                    field="uuid",
                    expected=f"{UUID(bytes=wanted)}, {whose}",
                    found=str(UUID(bytes=init.uuid)),
                    uuid=str(UUID(bytes=init.uuid)),
                    wanted=str(UUID(bytes=wanted)),
                    channel=init.id,
                    arrived=self._arrived(container),
                )

    def _twice(self, container: Container, start: int, number: int, first: Container) -> None:
        self.context.report(
            "QM302",
            container,
            offset=start + _ID[0],
            length=_ID[1],
            record=f"multifd channel {number} initial packet",
            field="id",
            expected="an id that no other file has",
            found=f"{number}, as in {first.source.name}",
            channel=number,
        )

    def _missing(self, seen: dict[int, Container]) -> None:
        count = len(seen)
        missing = [str(number) for number in range(max(seen)) if number not in seen]
        starts = {init.id: start for _, start, init in self._channels}
        for number, container in sorted(seen.items()):
            if number < count:
                continue
            self.context.report(
                "QM306" if number == count else "QM303",
                container,
                offset=starts[number] + _ID[0],
                length=_ID[1],
                record=f"multifd channel {number} initial packet",
                field="id",
                expected=f"0 to {count - 1}, as there are {count} channels",
                found=str(number),
                hint=f"give the files of the missing channels, too: {', '.join(missing)}",
                channel=number,
                channels=count,
                arrived=self._arrived(container),
            )

    def _arrived(self, container: Container) -> int:
        """Return how many channels come before a file, in the order in which they are given."""
        return self.context.capture.channel_files.index(container)
