"""What can be read of the frame of a stream, and is wrong all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from qmig.capture.live_sections import framer_of
from qmig.capture.ram_record import text_of
from qmig.capture.stream import StreamWalk
from qmig.checks.check import Check, Context
from qmig.wire.framing import CapabilityName, FileHeader, PartHead, QemuVmSection, SectionHead
from qmig.wire.record import fixed_len

if TYPE_CHECKING:
    from qmig.capture.container import Container
    from qmig.capture.records import Record
    from qmig.checks.check import Walk

# qapi/migration.json: MigrationCapability of 10.0.
CAPABILITIES: Final = frozenset(
    {
        "xbzrle",
        "rdma-pin-all",
        "auto-converge",
        "events",
        "postcopy-ram",
        "x-colo",
        "release-ram",
        "return-path",
        "pause-before-switchover",
        "multifd",
        "dirty-bitmaps",
        "postcopy-blocktime",
        "late-block-activate",
        "x-ignore-shared",
        "validate-uuid",
        "background-snapshot",
        "zero-copy-send",
        "postcopy-preempt",
        "switchover-ack",
        "dirty-limit",
        "mapped-ram",
    }
)

# Up to 7.2 each user-mode network registers under one name and instance (net/slirp.c).
_MANY_OF_ONE_NAME: Final = frozenset({b"slirp"})


class FramingCheck(Check):
    """Capabilities, the order of sections, and what stands behind the end."""

    RECORDS: ClassVar[frozenset[str]] = frozenset(
        {"configuration/capabilities", "section header", "vmdescription"}
    )

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._full: dict[tuple[bytes, int], int] = {}
        self._ended: dict[int, int] = {}
        self._described = False

    def record(self, container: Container, record: Record) -> None:
        """Look at a capability's name, a section's header, or that of the vmdescription."""
        wire = record.wire
        if isinstance(wire, SectionHead):
            self._opened(container, record, wire)
        elif isinstance(wire, PartHead):
            self._continued(container, record, wire)
        elif isinstance(wire, CapabilityName):
            self._capability(container, record, wire)
        elif record.name == "vmdescription":
            self._described = True

    def _capability(self, container: Container, record: Record, wire: CapabilityName) -> None:
        name = text_of(wire.name)
        if name not in CAPABILITIES:
            self.context.report(
                "QM006",
                container,
                offset=record.offset,
                length=record.length,
                record=record.name,
                field="name",
                expected="a capability of QEMU",
                found=repr(name),
                name=name.partition("\0")[0],
            )

    def _opened(self, container: Container, record: Record, wire: SectionHead) -> None:
        name = text_of(wire.idstr)
        live = name == "ram" or framer_of(name) is not None
        if wire.type == QemuVmSection.SECTION_START and not live and name.isprintable():
            self._without_rounds(container, record, wire)
        if wire.type != QemuVmSection.SECTION_FULL or wire.idstr in _MANY_OF_ONE_NAME:
            return
        key = (wire.idstr, wire.instance_id)
        before = self._full.setdefault(key, record.offset)
        if before != record.offset:
            self.context.report(
                "QM025",
                container,
                offset=record.offset,
                length=record.length,
                record="section header",
                expected="one FULL section of each handler",
                found=f"a second one of {text_of(wire.idstr)!r}, instance {wire.instance_id}; "
                f"the first stands at 0x{before:x}",
            )

    def _without_rounds(self, container: Container, record: Record, wire: SectionHead) -> None:
        name = text_of(wire.idstr)
        self.context.report(
            "QM015",
            container,
            offset=record.offset,
            length=record.length,
            record="section header",
            field="idstr",
            expected="a handler that has rounds",
            found=repr(name),
            name=name,
            instance_id=wire.instance_id,
        )

    def _continued(self, container: Container, record: Record, wire: PartHead) -> None:
        ended = self._ended.get(wire.section_id)
        if ended is not None:
            self.context.report(
                "QM026",
                container,
                offset=record.offset,
                length=record.length,
                record="section header",
                expected=f"nothing more of section {wire.section_id}, which ended at 0x{ended:x}",
                found="PART" if wire.type == QemuVmSection.SECTION_PART else "END",
            )
        elif wire.type == QemuVmSection.SECTION_END:
            self._ended[wire.section_id] = record.offset

    def file_end(self, container: Container, walk: Walk) -> None:
        """Look at what was missing in front, and at what stands behind the end."""
        if not isinstance(walk, StreamWalk):
            return
        self._configuration(container, walk)
        if walk.error is None:
            self._behind(container, walk)
        self._described = False

    def _configuration(self, container: Container, walk: StreamWalk) -> None:
        described, rows = walk.vmdescription, walk.sections.rows
        if walk.error is not None and (not rows or walk.error.offset < rows[0].offset):
            return  # it may have been there
        if walk.configuration is None and described is not None and described.has_configuration:
            self.context.report(
                "QM004",
                container,
                offset=walk.start_offset + fixed_len(FileHeader),
                record="file header",
                expected="a configuration section behind it, which the vmdescription describes",
                found="none",
            )

    def _behind(self, container: Container, walk: StreamWalk) -> None:
        trailing = walk.trailing
        if trailing is None or any(command.name == "ENABLE_COLO" for command in walk.commands):
            return
        what = "zeros" if trailing.zeros else "data"
        if self._described or trailing.zeros:
            self.context.report(
                "QM022",
                container,
                offset=trailing.offset,
                length=trailing.length,
                record="behind the end",
                expected="the end of the file",
                found=f"{trailing.length} bytes of {what}",
            )
            return
        self.context.report(
            "QM020",
            container,
            offset=trailing.offset,
            length=trailing.length,
            record="behind EOF",
            expected="a vmdescription (0x06) or the end of the file",
            found=f"0x{trailing.first:02x} and {trailing.length - 1} bytes more",
            type=trailing.first,
        )
