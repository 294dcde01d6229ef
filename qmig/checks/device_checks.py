"""Device sections against the vmdescription, and the vmdescription against the stream."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from qmig.capture.ram_record import text_of
from qmig.capture.run_state import SECTION_NAME
from qmig.capture.stream import StreamWalk
from qmig.checks.check import Check, Context
from qmig.checks.device_layout import contradictions, described_version, differences
from qmig.errors import printed_int
from qmig.limits import MAX_KEPT_BODIES_LEN
from qmig.wire.framing import PartHead, QemuVmSection, SectionHead
from qmig.wire.magic import SALVAGED_SECTION
from qmig.wire.vmdesc import decode_devices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qmig.capture.container import Container
    from qmig.capture.records import Record
    from qmig.checks.check import Walk
    from qmig.wire.vmdesc import DeviceEntry, Pairs, VmDescription

# qapi/run-state.json: RunState of 10.0.
RUN_STATES: Final = frozenset(
    {
        *("debug", "inmigrate", "internal-error", "io-error", "paused", "postmigrate"),
        *("prelaunch", "finish-migrate", "restore-vm", "running", "save-vm", "shutdown"),
        *("suspended", "watchdog", "guest-panicked", "colo"),
    }
)
_STATE_AT: Final = 4  # behind its size


@dataclass
class _Full:
    """A FULL section.

    Attributes:
        head_offset: of its header.
        version_offset: of version_id in it.
        idstr: name of the device.
        instance_id: its instance.
        version_id: its version.
        body_offset: behind the header.
        body: its bytes, while they are kept.
        body_len: how many they are.
        footer: whether a footer was read behind them.
    """

    head_offset: int
    version_offset: int
    idstr: str
    instance_id: int
    version_id: int
    body_offset: int
    body: bytes | None = b""
    body_len: int = 0
    footer: bool = False

    @property
    def what(self) -> str:
        """It in words."""
        return f"FULL section {self.idstr!r}, instance {self.instance_id}"

    @property
    def key(self) -> tuple[str, int]:
        """What an entry of the description has as well."""
        return self.idstr, self.instance_id


class DeviceCheck(Check):
    """All device sections of a stream, once its vmdescription is known."""

    RECORDS: ClassVar[frozenset[str]] = frozenset(
        {"section header", "section body", "section footer", "vmdescription JSON"}
    )

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._fulls: list[_Full] = []
        self._current: _Full | None = None
        self._kept_len = 0
        self._text: tuple[int, bytes] | None = None

    def record(self, container: Container, record: Record) -> None:
        """Note a device section, or the text of the vmdescription."""
        wire = record.wire
        if isinstance(wire, SectionHead):
            self._current = None
            if wire.type == QemuVmSection.SECTION_FULL:
                end = record.offset + record.length
                full = _Full(
                    record.offset,
                    end - 4,
                    text_of(wire.idstr),
                    wire.instance_id,
                    wire.version_id,
                    end,
                )
                self._fulls.append(full)
                self._current = full
                if full.idstr == SALVAGED_SECTION:
                    self._salvaged(container, full)
        elif isinstance(wire, PartHead):
            self._current = None
        elif record.name == "vmdescription JSON":
            self._text = record.offset, container.source.read_at(record.offset, record.length)
        elif self._current is not None:
            self._inside(container, record, self._current)

    def _salvaged(self, container: Container, full: _Full) -> None:
        self.context.report(
            "QM416",
            container,
            offset=full.head_offset,
            length=full.body_offset - full.head_offset,
            record=full.what,
            expected="a guest that is whole",
            found="what was salvaged of one",
            name=full.idstr,
            instance_id=full.instance_id,
        )

    def _inside(self, container: Container, record: Record, full: _Full) -> None:
        if record.name == "section footer":
            full.footer = True
            self._current = None
            return
        full.body_len = record.length
        self._kept_len += record.length
        if self._kept_len > MAX_KEPT_BODIES_LEN:
            self._kept_len -= record.length
            full.body = None
            return
        full.body = container.source.read_at(record.offset, record.length)
        if full.idstr == SECTION_NAME:
            self._run_state(container, full, full.body)

    def _run_state(self, container: Container, full: _Full, body: bytes) -> None:
        state, nul, _ = body[_STATE_AT:].partition(b"\0")
        name = text_of(state)
        if not nul or name not in RUN_STATES:
            self.context.report(
                "QM415",
                container,
                offset=full.body_offset + _STATE_AT,
                length=len(state),
                record=full.what,
                field="runstate",
                expected="a run state of QEMU",
                found=repr(name[:64]),
                state=name,
            )

    def file_end(self, container: Container, walk: Walk) -> None:
        """Compare what was noted."""
        if isinstance(walk, StreamWalk) and self._text is not None:
            if walk.vmdescription is not None:
                self._compare(container, walk, walk.vmdescription, *self._text)
            elif walk.vmdescription_error is not None:
                self.context.report(
                    "QM403",
                    container,
                    offset=self._text[0],
                    length=len(self._text[1]),
                    record="vmdescription",
                    expected="JSON with a list of devices",
                    found=walk.vmdescription_error,
                )
        self._fulls, self._current, self._kept_len, self._text = [], None, 0, None

    def _compare(
        self,
        container: Container,
        walk: StreamWalk,
        description: VmDescription,
        offset: int,
        text: bytes,
    ) -> None:
        self._page_size(container, walk, description, offset)
        if walk.errors:
            return  # sections may be lost, or run into one another
        devices = list(decode_devices(text, description.devices))
        if [full.key for full in self._fulls] != _keys(description):
            self._not_the_same(container, description, devices, offset)
        waiting = {full.key: full for full in reversed(self._fulls)}
        for entry, device in zip(description.devices, devices, strict=True):
            full = waiting.pop((entry.name, entry.instance_id), None)
            sound = self._sound(container, entry, device, offset)
            if full is not None:
                self._section(container, full, entry, device, sound=sound)

    def _page_size(
        self, container: Container, walk: StreamWalk, description: VmDescription, offset: int
    ) -> None:
        told = description.page_size_len
        known = walk.page_size
        if told is not None and (known is None or known.length == told):
            return
        self.context.report(
            "QM404",
            container,
            offset=offset,
            record="vmdescription",
            field="page_size",
            expected=f"{known.length} ({known.origin})" if known else "the target page size",
            found="none" if told is None else str(told),
        )

    def _not_the_same(
        self,
        container: Container,
        description: VmDescription,
        devices: Sequence[Pairs],
        offset: int,
    ) -> None:
        """Report sections without an entry, entries without a section, or their order."""
        sections = Counter(full.key for full in self._fulls)
        entries = Counter(_keys(description))
        if sections == entries:
            self.context.report(
                "QM407",
                container,
                offset=offset,
                record="vmdescription",
                expected=f"{len(self._fulls)} devices in the order of their sections",
                found="another order",
            )
            return
        left, missing = sections - entries, entries - sections
        if len(self._fulls) == len(devices):
            for full, entry, device in zip(self._fulls, description.devices, devices, strict=True):
                key = (entry.name, entry.instance_id)
                if left[full.key] > 0 and missing[key] > 0:
                    left[full.key] -= 1
                    missing[key] -= 1
                    self._other_name(container, full, entry, device)
        for full in reversed(self._fulls):
            if left[full.key] > 0:
                left[full.key] -= 1
                self._undescribed(container, full, "an entry in the vmdescription", "none")
        for name, instance_id in +missing:
            self.context.report(
                "QM406",
                container,
                offset=offset,
                record=f"vmdescription, device {name!r}, instance {instance_id}",
                expected="a FULL section",
                found="none",
            )

    def _other_name(
        self, container: Container, full: _Full, entry: DeviceEntry, device: Pairs
    ) -> None:
        """Report a section in the place of which the description has another device."""
        own = device.first("vmsd_name")
        named_twice = isinstance(own, str) and own != "" and entry.name.endswith(own)
        expected = f"{entry.name!r}, instance {entry.instance_id}, as the vmdescription has it"
        if full.idstr == entry.name or not named_twice:
            self._undescribed(container, full, expected, "another header, or the entry is damaged")
            return
        self.context.report(
            "QM417",
            container,
            offset=full.head_offset,
            length=full.body_offset - full.head_offset,
            record=full.what,
            field="idstr",
            expected=expected,
            found=repr(full.idstr),
            name=full.idstr,
            instance_id=full.instance_id,
        )

    def _undescribed(self, container: Container, full: _Full, expected: str, found: str) -> None:
        self.context.report(
            "QM405",
            container,
            offset=full.head_offset,
            length=full.body_offset + full.body_len - full.head_offset,
            record=full.what,
            expected=expected,
            found=found,
        )

    def _sound(self, container: Container, entry: DeviceEntry, device: Pairs, offset: int) -> bool:
        """Report where a description contradicts itself; tell whether it does not."""
        found = next(contradictions(device), None)
        if found is None:
            return entry.body_len is not None
        self.context.report(
            "QM408",
            container,
            offset=offset,
            record=f"vmdescription, device {entry.name!r}, instance {entry.instance_id}",
            field=found.what,
            expected=found.expected,
            found=found.found,
        )
        return False

    def _section(
        self,
        container: Container,
        full: _Full,
        entry: DeviceEntry,
        device: Pairs,
        *,
        sound: bool,
    ) -> None:
        self._version(container, full, device)
        if not sound or entry.body_len is None:
            return
        if full.body_len != entry.body_len:
            if full.footer:
                self.context.report(
                    "QM410",
                    container,
                    offset=full.body_offset,
                    length=full.body_len,
                    record=full.what,
                    field="body",
                    expected=f"{entry.body_len} bytes",
                    found=f"{full.body_len}",
                    idstr=full.idstr,
                )
            return
        for found in differences(device, full.body or b"") if full.body is not None else ():
            self.context.report(
                "QM414" if found.foreign else "QM413",
                container,
                offset=full.body_offset + found.at,
                length=found.length,
                record=full.what,
                field=found.what,
                expected=found.expected,
                found=found.found,
                idstr=full.idstr,
            )

    def _version(self, container: Container, full: _Full, device: Pairs) -> None:
        described = described_version(device)
        if described is None or described == full.version_id:
            return
        self.context.report(
            "QM411" if full.version_id > described else "QM412",
            container,
            offset=full.version_offset,
            length=4,
            record=full.what,
            field="version_id",
            expected=f"{described}, as described",
            found=str(full.version_id),
            version=printed_int(full.version_id),
            idstr=full.idstr,
            described=described,
        )


def _keys(description: VmDescription) -> list[tuple[str, int]]:
    return [(device.name, device.instance_id) for device in description.devices]
