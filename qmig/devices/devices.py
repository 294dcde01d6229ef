"""The devices of a capture: their sections, each decoded when it is asked for."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final

from qmig.capture.extent import FOOTER_LEN, find_vmdescription
from qmig.devices.body import Body
from qmig.devices.decode import decode_body, left_undecoded
from qmig.devices.tree import STRUCT, Group, Node, resolve
from qmig.errors import StreamError
from qmig.wire.framing import QemuVmSection, VmDescriptionHead
from qmig.wire.record import fixed_len
from qmig.wire.vmdesc import DeviceEntry, VmDescError, decode_device

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qmig.capture.capture import Capture
    from qmig.capture.sections import Section
    from qmig.capture.source import Source

# Type, id, length of the name; instance and version stand behind the name.
_FIXED_HEAD_LEN: Final = 1 + 4 + 1 + 4 + 4
_VMDESC_HEAD_LEN: Final = fixed_len(VmDescriptionHead)
NO_DESCRIPTION: Final = "the stream has no vmdescription"
NOT_LISTED: Final = "the vmdescription does not list it"
NOT_JSON: Final = "its vmdescription cannot be decoded"


class Device:
    """The state of one device: a FULL section.

    Attributes:
        name: idstr of the section.
        instance_id: instance of the section.
        version_id: version of the section.
        section_offset: first byte of the section in the stream's source.
        offset: first byte of its body.
        length: bytes of its body.
        undescribed: why its fields are not known; None where the stream describes them.
    """

    def __init__(
        self, source: Source, section: Section, length: int, entry: DeviceEntry | None, text: bytes
    ) -> None:
        self.name = section.idstr
        self.instance_id = section.instance_id
        self.version_id = section.version_id
        self.section_offset = section.offset
        self.offset = section.offset + head_len(section)
        self.length = length
        self.undescribed: str | None = None
        self._source = source
        self._entry = entry
        self._text = text
        self._error: StreamError | None = None
        self._tried = False

    @property
    def path(self) -> str:
        """Name and instance: `cpu/0`."""
        return f"{self.name}/{self.instance_id}"

    @cached_property
    def _decoded(self) -> Group:
        body = Body(self._source, self.offset, self.length, f"section {self.path}")
        if self._entry is not None:
            try:
                description = decode_device(self._text, self._entry)
            except VmDescError as error:
                self.undescribed = f"{NOT_JSON}: {error}"
            else:
                root, self._error = decode_body(body, description, self.path)
                self._tried = True
                return root
        self._tried = True
        root = Group(self.path, "", STRUCT, self.offset)
        left_undecoded(body, root)
        return root

    @property
    def tree(self) -> Group:
        """Its fields; they are decoded once."""
        return self._decoded

    @property
    def error(self) -> StreamError | None:
        """What kept it from being decoded to its last byte."""
        if not self._tried:
            _ = self._decoded
        return self._error

    def find(self, path: str) -> Node | None:
        """Return the field at a path, as `env.regs[0]`; None where there is none."""
        return resolve(self.tree, path)

    def read(self, first: int = 0, length: int | None = None) -> bytes:
        """Return the bytes of its section's body.

        Args:
            first: the first one, counted in the body.
            length: how many at most; None: to the end.
        """
        left = max(0, self.length - first)
        wanted = left if length is None else min(length, left)
        return self._source.read_at(self.offset + first, wanted)

    def bytes_of(self, node: Node) -> bytes:
        """Return the bytes of a field of this device."""
        return self._source.read_at(node.offset, node.length)

    def forget(self) -> None:
        """Give back the memory of its fields; they are decoded again when asked for."""
        self.__dict__.pop("_decoded", None)


class Devices:
    """The devices of a capture, in the order of the stream.

    Attributes:
        undescribed: why no section is described; None where there is a vmdescription.
    """

    def __init__(self, devices: Sequence[Device], undescribed: str | None) -> None:
        self._devices = list(devices)
        self.undescribed = undescribed

    def __len__(self) -> int:
        return len(self._devices)

    def __iter__(self) -> Iterator[Device]:
        return iter(self._devices)

    def named(self, name: str, instance_id: int | None = None) -> list[Device]:
        """Return the devices of a name, or of a name and an instance."""
        return [
            device
            for device in self._devices
            if device.name == name and instance_id in (None, device.instance_id)
        ]

    def select(self, selection: str) -> Iterator[tuple[Device, Node]]:
        """Yield each field that a selection names, with its device.

        Args:
            selection: `NAME`, `NAME/INSTANCE`, or one of them with `/` and the path of a field.
                Names hold slashes themselves: the longest name that fits is taken.
        """
        for device, path in self.named_in(selection):
            found = device.find(path)
            if found is not None:
                yield device, found

    def named_in(self, selection: str) -> Iterator[tuple[Device, str]]:
        """Yield each device that a selection names, with what stands behind it; see `select`."""
        fitting = [
            device
            for device in self._devices
            if selection == device.name or selection.startswith(f"{device.name}/")
        ]
        longest = max((len(device.name) for device in fitting), default=0)
        for device in fitting:
            if len(device.name) < longest:
                continue
            rest = selection[longest + 1 :]
            instance, _, path = rest.partition("/")
            if instance == str(device.instance_id):
                yield device, path
            elif not instance.isdigit():
                yield device, rest


def open_devices(capture: Capture) -> Devices:
    """Return the devices of a capture.

    The main stream is walked once, if that has not been done; a section is decoded when it is
    looked at. What a damaged capture has before its damage is there.

    Raises:
        SourceError: there is no main stream, or it comes from a pipe and was not kept.
    """
    capture.make_seekable()
    walk = capture.stream
    source = walk.source
    text, entries = _description(capture)
    waiting: dict[tuple[str, int], list[DeviceEntry]] = {}
    for listed in entries:
        waiting.setdefault((listed.name, listed.instance_id), []).append(listed)
    footer_len = FOOTER_LEN if walk.footers else 0
    why = None if entries else walk.vmdescription_error or NO_DESCRIPTION
    devices: list[Device] = []
    for section in walk.sections.rows:
        if section.kind != QemuVmSection.SECTION_FULL or not section.complete:
            continue
        length = section.length - head_len(section) - footer_len
        mine = waiting.get((section.idstr, section.instance_id))
        entry = mine.pop(0) if mine else None
        device = Device(source, section, length, entry, text)
        if entry is None:
            device.undescribed = why or NOT_LISTED
        devices.append(device)
    return Devices(devices, why)


def head_len(section: Section) -> int:
    """Return the bytes of the head of a FULL section."""
    name = section.idstr.encode("utf-8", "surrogateescape")
    return _FIXED_HEAD_LEN + len(name)


def _description(capture: Capture) -> tuple[bytes, Sequence[DeviceEntry]]:
    """Return the JSON text of the stream's vmdescription, and its devices."""
    walk = capture.stream
    description = walk.known_description
    if description is None or capture.main is None:
        return b"", ()
    source = walk.source
    offset: int | None = None
    if walk.vmdescription is not None and walk.eof_offset is not None:
        offset = walk.eof_offset + 1
    else:
        # The walk did not come so far: what it knew ahead of its turn is found again.
        found = find_vmdescription(source, walk.start_offset, capture.main.description_end)
        offset = found.offset if found else None
    if offset is None:
        return b"", ()
    head = VmDescriptionHead.parse(source.read_at(offset, _VMDESC_HEAD_LEN))
    return source.read_at(offset + _VMDESC_HEAD_LEN, head.length), description.devices
