"""Whole main streams: ids, footers and the description kept in step."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.builders import commands, framing, vmdesc
from tests.builders.ram import eos

TIMER_ID: Final = 0
FIRST_DEVICE_ID: Final = 16  # above every live handler used here


@dataclass(frozen=True)
class Release:
    """What a QEMU release does to every main stream.

    Attributes:
        name: The release.
        ram_id: The section id of `ram` on pc.
        blanks: The description's older text style.
        describes_configuration: Whether the description has that entry.
        suspended_state: The `globalstate` layout since 9.0.
        switchover_start: Whether the command goes out in front of the ENDs.
    """

    name: str
    ram_id: int = 2
    blanks: bool = False
    describes_configuration: bool = False
    suspended_state: bool = False
    switchover_start: bool = False


RELEASES: Final = {
    release.name: release
    for release in (
        Release("2.4", blanks=True),
        Release("3.0", blanks=True),
        Release("3.1", blanks=True),
        Release("4.0", blanks=True),
        Release("4.2", blanks=True),
        Release("5.2", blanks=True),
        Release("7.2"),
        Release("8.1"),
        Release("8.2", describes_configuration=True),
        Release("9.0", describes_configuration=True, suspended_state=True),
        Release("9.1", ram_id=1, describes_configuration=True, suspended_state=True),
        Release("9.2", ram_id=1, describes_configuration=True, suspended_state=True),
        *(
            Release(
                name,
                ram_id=1,
                describes_configuration=True,
                suspended_state=True,
                switchover_start=True,
            )
            for name in ("10.0", "10.1")
        ),
    )
}


class MainStream:
    """A main stream in the making.

    Args:
        release: A key of RELEASES.
        machine: The machine's versioned name.
        page_size: The target's page size, for the description.
        subsections: Subsections of the configuration.
        footers: Whether sections are closed by footers.
    """

    def __init__(
        self,
        release: str,
        machine: str,
        *,
        page_size: int = 4096,
        subsections: Sequence[bytes] = (),
        footers: bool = True,
    ) -> None:
        self.release = RELEASES[release]
        self.machine = machine
        self.page_size = page_size
        self._footer = None if footers else b""
        self._parts = [framing.file_header(), framing.configuration(machine, subsections)]
        self._devices: list[dict[str, Any]] = []
        self._next_id = FIRST_DEVICE_ID
        self._gap = 0

    def add(self, data: bytes) -> None:
        """Append ready-made elements, a command for instance."""
        self._parts.append(data)

    def start(self, section_id: int, idstr: str, body: bytes, version_id: int) -> None:
        """Open a live handler."""
        self.add(
            framing.section_start(
                section_id, idstr, body, version_id=version_id, footer=self._footer
            )
        )

    def part(self, section_id: int, body: bytes) -> None:
        """Continue a live handler."""
        self.add(framing.section_part(section_id, body, footer=self._footer))

    def end(self, section_id: int, body: bytes) -> None:
        """Close a live handler."""
        self.add(framing.section_end(section_id, body, footer=self._footer))

    def ram_start(self, body: bytes) -> None:
        """Open the RAM section."""
        self.start(self.release.ram_id, "ram", body, 4)

    def ram_start_elsewhere(self) -> None:
        """Open the RAM section whose body is put in by mapped_ram.write_capture."""
        self.add(framing.section_head(framing.SECTION_START, self.release.ram_id, "ram"))
        self._gap = len(self._parts)
        if self._footer is None:
            self.add(framing.section_footer(self.release.ram_id))

    def ram_part(self, records: bytes = b"") -> None:
        """Send records in a part of their own; the end-of-section word is added."""
        self.part(self.release.ram_id, records + eos())

    def ram_end(self, records: bytes = b"") -> None:
        """Send the last records; the end-of-section word is added."""
        self.end(self.release.ram_id, records + eos())

    def switchover(self) -> None:
        """Mark the end of the rounds, on releases that do."""
        if self.release.switchover_start:
            self.add(commands.switchover_start())

    def device_section(
        self, description: dict[str, Any], body: bytes, *, section_id: int | None = None
    ) -> bytes:
        """Build a device's section and describe it, without adding it."""
        if section_id is None:
            section_id = self._next_id
            self._next_id += 1
        self._devices.append(description)
        return framing.section_full(
            section_id,
            description["name"],
            body,
            instance_id=description["instance_id"],
            version_id=description.get("version", 1),
            footer=self._footer,
        )

    def device(
        self, description: dict[str, Any], body: bytes, *, section_id: int | None = None
    ) -> None:
        """Send a device's state and describe it."""
        self.add(self.device_section(description, body, section_id=section_id))

    def standard_sections(self, runstate: str = "paused") -> list[bytes]:
        """Build the devices that every machine has: timer and globalstate."""
        new = self.release.suspended_state
        timer = framing.timer_body(cpu_ticks_offset=0x1234, cpu_clock_offset=0x5678)
        state = framing.globalstate_body(runstate, suspended=(0, 0) if new else None)
        described = vmdesc.GLOBALSTATE_DEVICE if new else vmdesc.GLOBALSTATE_OLD_DEVICE
        return [
            self.device_section(vmdesc.TIMER_DEVICE, timer, section_id=TIMER_ID),
            self.device_section(described, state),
        ]

    def standard_devices(self, runstate: str = "paused") -> None:
        """Send the devices that every machine has."""
        self._parts.extend(self.standard_sections(runstate))

    def description(self) -> dict[str, Any]:
        """Give the description of what has been sent so far."""
        head: dict[str, Any] = {}
        if self.release.describes_configuration:
            head["configuration"] = vmdesc.configuration_entry(self.machine)
        return {**head, "page_size": self.page_size, "devices": self._devices}

    def finish(self, *, describe: bool = True, trailing: bytes = b"") -> bytes:
        """End the stream and give all of it."""
        return b"".join(self._finished(describe=describe, trailing=trailing))

    def finish_around_start(self, *, describe: bool = True) -> tuple[bytes, bytes]:
        """End the stream and give what stands before and behind the body of RAM's start."""
        parts = self._finished(describe=describe, trailing=b"")
        return b"".join(parts[: self._gap]), b"".join(parts[self._gap :])

    def unfinished(self) -> bytes:
        """Give the stream as far as it has come, as a broken connection leaves it."""
        return b"".join(self._parts)

    def _finished(self, *, describe: bool, trailing: bytes) -> list[bytes]:
        tail = [framing.end_of_file()]
        if describe:
            tail.append(vmdesc.vmdescription(self.description(), blanks=self.release.blanks))
        return [*self._parts, *tail, trailing]


def around_mapped_ram(
    release: str = "10.0", machine: str = "none", *, page_size: int = 4096, part: bytes = b""
) -> tuple[bytes, bytes]:
    """Give what stands before and behind the body of RAM's start in a mapped-ram file.

    Args:
        release: The QEMU whose file it is.
        machine: The machine type.
        page_size: The target's page size.
        part: The body of a further RAM section; empty: there is none.
    """
    capability = framing.capabilities(["mapped-ram"])
    main = MainStream(release, machine, page_size=page_size, subsections=[capability])
    main.ram_start_elsewhere()
    if part:
        main.part(main.release.ram_id, part)
    main.switchover()
    main.ram_end()
    main.standard_devices()
    return main.finish_around_start()


def join(parts: Iterable[bytes]) -> bytes:
    """Join records; a name for what every caller does."""
    return b"".join(parts)
