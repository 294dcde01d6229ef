"""Write libvirt's save image around a stream.

The order is libvirt's: a header whose magic says that the image is unfinished, XML, cookie and
padding, the stream, and last the magic of a finished image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qmig.errors import WriterError
from qmig.limits import MAX_LIBVIRT_DATA_LEN
from qmig.migrate.compress import COMPRESSED_FORMATS, CompressedSink
from qmig.wire.libvirt import QEMU_SAVE_VERSION, LibvirtSaveHeader, QemuSaveFormat
from qmig.wire.magic import QEMU_SAVE_MAGIC, QEMU_SAVE_PARTIAL
from qmig.wire.record import fixed_len

if TYPE_CHECKING:
    from qmig.migrate.output import AtomicFile

PADDING_LEN: Final = 65536
"""Room that libvirt leaves so that its XML can be edited in place."""

_UNUSED: Final = [0] * 14


class LibvirtImage:
    """One save image: `begin`, write the stream, `finish`.

    Args:
        xml: the domain's XML, without NUL.
        cookie: libvirt's cookie XML, without NUL; None for none.
        was_running: whether the guest is to run after the restore.
        save_format: how the stream is stored.
        padding_len: bytes of padding behind the XML and the cookie.

    Raises:
        WriterError: the XML or the cookie is none that the image can hold.
    """

    def __init__(
        self,
        xml: bytes,
        *,
        cookie: bytes | None = None,
        was_running: bool = False,
        save_format: QemuSaveFormat = QemuSaveFormat.RAW,
        padding_len: int = PADDING_LEN,
    ) -> None:
        self.save_format = save_format
        self._data = _terminated(xml, "XML")
        cookie_offset = 0
        if cookie is not None:
            cookie_offset = len(self._data)
            self._data += _terminated(cookie, "cookie")
        self._data += bytes(padding_len)
        if len(self._data) > MAX_LIBVIRT_DATA_LEN:
            raise WriterError(
                f"libvirt image: XML, cookie and padding have {len(self._data)} bytes, "
                f"and {MAX_LIBVIRT_DATA_LEN} is what a reader believes"
            )
        self._header = LibvirtSaveHeader(
            magic=QEMU_SAVE_PARTIAL,
            version=QEMU_SAVE_VERSION,
            data_len=len(self._data),
            was_running=int(was_running),
            format=int(save_format),
            cookieOffset=cookie_offset,
            unused=_UNUSED,
        )
        self._file: AtomicFile | None = None
        self._compressed: CompressedSink | None = None

    @property
    def stream_offset(self) -> int:
        """Where the stream, or its compressed form, begins in the file.

        The offsets in a mapped-ram stream count from the start of the file: its writer begins
        here.
        """
        return fixed_len(LibvirtSaveHeader) + len(self._data)

    def begin(self, file: AtomicFile) -> AtomicFile | CompressedSink:
        """Write what stands before the stream, and give what the stream is written to.

        That is the file itself, from `stream_offset` on, or a compressor, from 0 on; the result's
        `position` is the one of the two that holds.

        Args:
            file: an output that nothing was written to.

        Raises:
            WriterError: something was written to it.
            OutputError: it cannot be written.
        """
        if file.position != 0:
            raise WriterError(f"{file.path}: a libvirt image begins where its file begins")
        self._file = file
        file.append(self._header.build() + self._data)
        if self.save_format not in COMPRESSED_FORMATS:
            return file
        self._compressed = CompressedSink(file, self.save_format)
        return self._compressed

    def finish(self) -> None:
        """Write what the compressor still holds, and mark the image as finished.

        Raises:
            WriterError: it was not begun.
            OutputError: it cannot be written.
        """
        if self._file is None:
            raise WriterError("libvirt image: finished before it was begun")
        if self._compressed is not None:
            self._compressed.finish()
        self._file.pwrite(QEMU_SAVE_MAGIC, 0)


def _terminated(text: bytes, what: str) -> bytes:
    if not text:
        raise WriterError(f"libvirt image: the {what} is empty")
    if b"\0" in text:
        at = text.index(b"\0")
        raise WriterError(f"libvirt image: the {what} has a NUL at its byte {at}, which ends it")
    return text + b"\0"
