"""The builders' counterpart for the main stream: elements, described devices, channels' epochs.

It believes its input, so it is no example of how to read foreign files.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.builders import commands, framing, ram, vmdesc
from tests.builders.primitives import encoded, read_counted, u16, u32
from tests.builders.ram import BlockEntry
from tests.builders.vmdesc import JsonObject
from tests.builders.walk_multifd import Channel
from tests.builders.walk_ram import ChannelEpochs, Memory, RamReader, Record, read_block_list


def described_len(body: JsonObject) -> int:
    """Give the length of a device's body, or of a subsection's, by its description."""
    if body.get("size") is not None:
        return int(body.first("size"))
    own = sum(
        int(item.first("size")) * int(item.get("array_len", 1))
        for key, fields in body
        if key == "fields"
        for item in fields
    )
    subsections = body.get("subsections", [])
    heads = sum(1 + 1 + len(encoded(sub.first("vmsd_name"))) + 4 for sub in subsections)
    return own + heads + sum(described_len(sub) for sub in subsections)


@dataclass
class RamSection:
    """One section of RAM: which element, and its records."""

    element: int
    records: list[Record]


@dataclass
class MainStream:
    """A main stream taken apart; `rebuilt` is what the builders make of the parts."""

    machine: str = ""
    blocks: list[BlockEntry] = field(default_factory=list)
    ram_sections: list[RamSection] = field(default_factory=list)
    idstrs: list[str] = field(default_factory=list)
    commands: list[int] = field(default_factory=list)
    rebuilt: bytes = b""


class MainReader:
    """Reads a main stream from a file that ends in a description.

    Args:
        data: The file.
        mapped: Whether its RAM section carries the pages of mapped-ram.
        page_size: The target's page size.
    """

    def __init__(self, data: bytes, *, mapped: bool = False, page_size: int = 4096) -> None:
        self._data = data
        self._mapped = mapped
        self._at = 8
        self._ram = RamReader(page_size)
        self._ram_id = -1
        self._rebuilt: list[bytes] = []
        self._stream = MainStream()
        self._description = self._find_description()
        self._devices = iter(self._description.first("devices") if self._description else [])

    def read(self) -> MainStream:
        """Read everything."""
        data = self._data
        self._rebuilt.append(framing.file_header(magic=u32(data, 0), version=u32(data, 4)))
        if data[self._at] == framing.CONFIGURATION:
            self._configuration()
        while data[self._at] != framing.EOF:
            self._element()
        self._rebuilt.append(framing.end_of_file())
        if self._description is not None:
            blanks = b'"page_size" : ' in data[self._at : self._at + 64]
            self._rebuilt.append(vmdesc.vmdescription(self._description, blanks=blanks))
        self._stream.rebuilt = b"".join(self._rebuilt)
        return self._stream

    def _find_description(self) -> JsonObject | None:
        """Find the description from behind; its length tells whether it is one."""
        at = len(self._data)
        while (at := self._data.rfind(b"{", 0, at)) >= 5:
            if self._data[at - 5] == framing.VMDESCRIPTION and at + u32(self._data, at - 4) == len(
                self._data
            ):
                return vmdesc.parse(self._data[at:])
        return None

    def _configuration(self) -> None:
        start = self._at + 5
        end = start + u32(self._data, self._at + 1)
        name = self._data[start:end]
        subsections = []
        while self._data[end] == framing.SUBSECTION:
            title, at = read_counted(self._data, end + 1)
            version, at = u32(self._data, at), at + 4
            stop = at + self._subsection_len(title, at)
            subsections.append(framing.subsection(title, self._data[at:stop], version=version))
            end = stop
        self._stream.machine = name.decode()
        self._rebuilt.append(framing.configuration(name, subsections))
        self._at = end

    def _subsection_len(self, title: str, at: int) -> int:
        if title == "configuration/capabilities":
            end = at + 4
            for _ in range(u32(self._data, at)):
                _, end = read_counted(self._data, end)
            return end - at
        return {"configuration/target-page-bits": 4, "configuration/uuid": 16}[title]

    def _element(self) -> None:
        element = self._data[self._at]
        if element == framing.COMMAND:
            self._command()
            return
        section_id = u32(self._data, self._at + 1)
        if element in (framing.SECTION_START, framing.SECTION_FULL):
            idstr, at = read_counted(self._data, self._at + 5)
            instance_id, version_id = u32(self._data, at), u32(self._data, at + 4)
            self._stream.idstrs.append(idstr)
            start = at + 8
            body, end = self._body(element, idstr, section_id, start)
            footer = self._footer(end)
            self._rebuilt.append(
                framing.section_start(
                    section_id,
                    idstr,
                    body,
                    instance_id=instance_id,
                    version_id=version_id,
                    footer=footer,
                    element=element,
                )
            )
            return
        if section_id != self._ram_id:
            body, end = self._up_to_footer(section_id, self._at + 5)
            footer = self._footer(end)
            self._rebuilt.append(
                framing.section_part(section_id, body, footer=footer, element=element)
            )
            return
        records, end = self._ram.records(self._data, self._at + 5)
        self._stream.ram_sections.append(RamSection(element, records))
        body = b"".join(record.build() for record in records)
        footer = self._footer(end)
        self._rebuilt.append(framing.section_part(section_id, body, footer=footer, element=element))

    def _body(self, element: int, idstr: str, section_id: int, start: int) -> tuple[bytes, int]:
        if element == framing.SECTION_FULL and self._description is None:
            return self._up_to_footer(section_id, start)
        if element == framing.SECTION_FULL:
            device = next(self._devices)
            if device.first("name") != idstr:
                raise ValueError(f"{idstr} stands where {device.first('name')} is described")
            end = start + described_len(device)
            return self._data[start:end], end
        if idstr != "ram":
            return self._up_to_footer(section_id, start)
        self._ram_id = section_id
        blocks, at = read_block_list(self._data, start, mapped=self._mapped)
        records, end = self._ram.records(self._data, at)
        self._stream.blocks = blocks
        self._stream.ram_sections.append(RamSection(element, records))
        tail = b"".join(record.build() for record in records)
        return ram.block_list(blocks, tail=tail), end

    def _up_to_footer(self, section_id: int, start: int) -> tuple[bytes, int]:
        """Take a body that nothing describes by the first footer of its id."""
        end = self._data.index(framing.section_footer(section_id), start)
        return self._data[start:end], end

    def _footer(self, end: int) -> bytes:
        """Take over a footer where one stands; it must be the section's own to be rebuilt."""
        present = self._data[end] == framing.SECTION_FOOTER
        self._at = end + 5 if present else end
        return framing.section_footer(u32(self._data, end + 1)) if present else b""

    def _command(self) -> None:
        number, length = u16(self._data, self._at + 1), u16(self._data, self._at + 3)
        start = self._at + 5
        self._stream.commands.append(number)
        self._rebuilt.append(commands.command(number, self._data[start : start + length]))
        self._at = start + length


def final_ram(
    main: MainStream,
    channels: Sequence[Channel] = (),
    *,
    page_size: int = 4096,
    by_number: bool = True,
) -> Memory:
    """Give RAM after a whole migration, by epochs.

    Channels advance by one SYNC at each marker: FLUSH words where the main stream has any,
    end-of-section words where it has none. Inside an epoch packet_num decides across channels:
    4.2 may send a batch once more behind the SYNC that it was merged with, older by then than
    what another channel carries in the same epoch. Without by_number, channels are taken one
    after the other inside each epoch.
    """
    memory = Memory.of(main.blocks, page_size)
    epochs = [ChannelEpochs(channel, page_size) for channel in channels]
    words = [record for section in main.ram_sections for record in section.records]
    flushing = any(record.kind == ram.MULTIFD_FLUSH for record in words)
    marker = ram.MULTIFD_FLUSH if flushing else ram.EOS
    for record in words:
        memory.apply(record)
        if record.kind == marker:
            packets = [item for epoch in epochs for item in epoch.next_epoch()]
            if by_number:
                packets.sort(key=lambda item: item[0].packet_num)
            for packet, pages in packets:
                memory.apply_packet(packet, pages)
    return memory


def ram_without_epochs(
    main: MainStream, channels: Sequence[Channel], *, page_size: int = 4096
) -> Memory:
    """Give the wrong RAM that comes of main first, then one whole channel after the other."""
    memory = Memory.of(main.blocks, page_size)
    for section in main.ram_sections:
        for record in section.records:
            memory.apply(record)
    for channel in channels:
        epochs = ChannelEpochs(channel, page_size)
        while packets := epochs.next_epoch():
            for packet, pages in packets:
                memory.apply_packet(packet, pages)
    return memory
