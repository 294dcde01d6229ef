"""The main stream as it is written: a position in a file, sections, words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from qmig.limits import MIB
from qmig.wire.framing import (
    QEMU_VM_FILE_VERSION,
    EofRecord,
    FileHeader,
    FooterRecord,
    PartHead,
    QemuVmSection,
    SectionHead,
    VmDescriptionHead,
)
from qmig.wire.ram import RAM_SAVE_VERSION, RamSaveFlag, RamWord
from qmig.wire.record import fast_struct

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed import ReadableBuffer

_BUFFER_LEN: Final = MIB


class Output(Protocol):
    """Where a stream is written to."""

    def pwrite(self, data: ReadableBuffer, offset: int) -> None:
        """Write all of `data` at `offset`."""


class MainStream:
    """Writes a main stream in order, through a buffer.

    Args:
        output: the file or pipe.
        offset: where the stream begins in it.
        footers: whether sections get footers.
        ram_section_id: id of the `ram` section.

    Attributes:
        offset: of the next byte.
    """

    def __init__(self, output: Output, offset: int, *, footers: bool, ram_section_id: int) -> None:
        self.output = output
        self.offset = offset
        self._footers = footers
        self._ram_section_id = ram_section_id
        self._buffer = bytearray()
        self._word = fast_struct(RamWord)

    def write(self, data: ReadableBuffer) -> None:
        """Append bytes."""
        length = memoryview(data).nbytes
        if length == 0:
            return
        self._buffer += memoryview(data).cast("B")
        self.offset += length
        if len(self._buffer) >= _BUFFER_LEN:
            self.flush()

    def flush(self) -> None:
        """Hand what is buffered to the output."""
        if self._buffer:
            self.output.pwrite(self._buffer, self.offset - len(self._buffer))
            self._buffer = bytearray()

    def move_to(self, offset: int) -> None:
        """Go on at another offset; what lies between is left as it is, a hole."""
        self.flush()
        self.offset = offset

    def word(self, value: int) -> None:
        """Append a RAM word."""
        self.write(self._word.pack(value))

    def eos(self) -> None:
        """Append the word that closes a RAM section's body."""
        self.word(RamSaveFlag.EOS)

    def header(self, configuration: bytes) -> None:
        """Append file header and configuration."""
        self.write(FileHeader(version=QEMU_VM_FILE_VERSION).build())
        self.write(configuration)

    def ram_start(self) -> None:
        """Open the START section of `ram`."""
        head = SectionHead(
            type=int(QemuVmSection.SECTION_START),
            section_id=self._ram_section_id,
            idstr=b"ram",
            instance_id=0,
            version_id=RAM_SAVE_VERSION,
        )
        self.write(head.build())

    def ram_part(self, kind: QemuVmSection) -> None:
        """Open a PART or END section of `ram`."""
        self.write(PartHead(type=int(kind), section_id=self._ram_section_id).build())

    def footer(self) -> None:
        """Close a `ram` section."""
        if self._footers:
            self.write(FooterRecord(section_id=self._ram_section_id).build())

    def carry(self, chunks: Iterable[bytes]) -> None:
        """Append an element as it is."""
        for chunk in chunks:
            self.write(chunk)

    def finish(self, vmdescription: bytes | None) -> None:
        """Append EOF and the vmdescription, and flush."""
        self.write(EofRecord().build())
        if vmdescription is not None:
            self.write(VmDescriptionHead(length=len(vmdescription)).build())
            self.write(vmdescription)
        self.flush()
