"""What can be read of libvirt's header, and is wrong all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qmig.capture.stream import StreamWalk
from qmig.checks.check import Check
from qmig.wire.libvirt import LibvirtSaveHeader, QemuSaveFormat
from qmig.wire.record import field_table

if TYPE_CHECKING:
    from qmig.capture.container import Container, LibvirtImage
    from qmig.checks.check import Walk

_HEADER = "libvirt header"


class ContainerCheck(Check):
    """Looks at the libvirt header of the main stream's file, once its stream is known."""

    def file_end(self, container: Container, walk: Walk) -> None:
        """Look at the wrapping of a main stream."""
        image = container.libvirt
        if image is None or not isinstance(walk, StreamWalk):
            return
        start = next(s.offset for s in container.spans if s.record == _HEADER)
        if image.partial:
            self._wrong("QM501", container, image, start, "magic", "LibvirtQemudSave")
        offset, header = image.header.cookieOffset, image.header
        if offset and offset >= header.data_len:
            expected = f"below data_len, {header.data_len}"
            self._wrong("QM506", container, image, start, "cookieOffset", expected)
        xml = next(s for s in container.spans if s.record == "libvirt XML")
        if xml.length == len(image.xml):
            self.context.report(
                "QM505",
                container,
                offset=xml.offset,
                length=xml.length,
                record="libvirt XML",
                expected="a NUL at its end",
                found="none",
            )
        if image.format_name == QemuSaveFormat.SPARSE.name.lower():
            if not _is_mapped(walk):
                self._wrong("QM508", container, image, start, "format", "a stream with mapped-ram")
        elif _is_mapped(walk):
            self._wrong("QM508", container, image, start, "format", "6 sparse, for mapped-ram")

    def _wrong(
        self,
        rule_id: str,
        container: Container,
        image: LibvirtImage,
        start: int,
        field: str,
        expected: str,
    ) -> None:
        at, length = field_table(LibvirtSaveHeader)[field]
        value = getattr(image.header, field)
        self.context.report(
            rule_id,
            container,
            offset=start + at,
            length=length,
            record=_HEADER,
            field=field,
            expected=expected,
            found=value.decode("ascii", "replace") if isinstance(value, bytes) else str(value),
        )


def _is_mapped(walk: StreamWalk) -> bool:
    return any(block.mapped is not None for block in walk.blocks)
