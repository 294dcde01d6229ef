"""File header, configuration, sections and footers of the main stream."""

from collections.abc import Iterable

from tests.builders.primitives import be32, be64, counted, encoded

FILE_MAGIC = 0x5145564D
FILE_VERSION = 3

EOF = 0x00
SECTION_START = 0x01
SECTION_PART = 0x02
SECTION_END = 0x03
SECTION_FULL = 0x04
SUBSECTION = 0x05
VMDESCRIPTION = 0x06
CONFIGURATION = 0x07
COMMAND = 0x08
SECTION_FOOTER = 0x7E


def file_header(*, magic: int = FILE_MAGIC, version: int = FILE_VERSION) -> bytes:
    """Build the eight bytes that open a stream."""
    return be32(magic) + be32(version)


def configuration(
    name: str | bytes,
    subsections: Iterable[bytes] = (),
    *,
    name_len: int | None = None,
    element: int = CONFIGURATION,
) -> bytes:
    """Build the configuration section.

    Args:
        name: The versioned machine name.
        subsections: Ready-made subsections, in wire order.
        name_len: The length to announce in place of the name's own.
        element: The element byte in front.
    """
    raw = encoded(name)
    announced = len(raw) if name_len is None else name_len
    return bytes([element]) + be32(announced) + raw + b"".join(subsections)


def subsection(
    name: str | bytes,
    body: bytes,
    *,
    version: int = 1,
    name_len: int | None = None,
    marker: int = SUBSECTION,
) -> bytes:
    """Build a subsection of the configuration or of a device."""
    return bytes([marker]) + counted(name, length=name_len) + be32(version) + body


def target_page_bits(bits: int, *, version: int = 1) -> bytes:
    """Build the subsection that tells a variable target page size."""
    return subsection("configuration/target-page-bits", be32(bits), version=version)


def capabilities(
    names: Iterable[str | bytes], *, count: int | None = None, version: int = 1
) -> bytes:
    """Build the subsection that lists the validated capabilities."""
    listed = [counted(name) for name in names]
    body = be32(len(listed) if count is None else count) + b"".join(listed)
    return subsection("configuration/capabilities", body, version=version)


def guest_uuid(value: bytes, *, version: int = 1) -> bytes:
    """Build the subsection that carries the guest's UUID."""
    return subsection("configuration/uuid", value, version=version)


def section_footer(section_id: int, *, marker: int = SECTION_FOOTER) -> bytes:
    """Build the footer that closes a section's body."""
    return bytes([marker]) + be32(section_id)


def _closed(section_id: int, body: bytes, footer: bytes | None) -> bytes:
    """Append the section's own footer, or the one given (empty for none)."""
    return body + (section_footer(section_id) if footer is None else footer)


def section_head(
    element: int,
    section_id: int,
    idstr: str | bytes,
    *,
    instance_id: int = 0,
    version_id: int = 4,
    idstr_len: int | None = None,
) -> bytes:
    """Build what stands in front of the body of a START or FULL section."""
    head = bytes([element]) + be32(section_id) + counted(idstr, length=idstr_len)
    return head + be32(instance_id) + be32(version_id)


def section_start(
    section_id: int,
    idstr: str | bytes,
    body: bytes,
    *,
    instance_id: int = 0,
    version_id: int = 4,
    footer: bytes | None = None,
    element: int = SECTION_START,
    idstr_len: int | None = None,
) -> bytes:
    """Build a section that opens a live handler.

    Args:
        section_id: The id later parts refer to.
        idstr: The handler's name.
        body: Everything between the section's head and its footer.
        instance_id: The handler's instance.
        version_id: The version of the body's layout.
        footer: The bytes behind the body; None writes the section's own footer, empty
            bytes write none.
        element: The element byte in front.
        idstr_len: The length byte of the name in place of the true one.
    """
    head = section_head(
        element,
        section_id,
        idstr,
        instance_id=instance_id,
        version_id=version_id,
        idstr_len=idstr_len,
    )
    return head + _closed(section_id, body, footer)


def section_full(
    section_id: int,
    idstr: str | bytes,
    body: bytes,
    *,
    instance_id: int = 0,
    version_id: int = 1,
    footer: bytes | None = None,
    idstr_len: int | None = None,
) -> bytes:
    """Build a section that holds a device's whole state; see section_start."""
    return section_start(
        section_id,
        idstr,
        body,
        instance_id=instance_id,
        version_id=version_id,
        footer=footer,
        element=SECTION_FULL,
        idstr_len=idstr_len,
    )


def section_part(
    section_id: int, body: bytes, *, footer: bytes | None = None, element: int = SECTION_PART
) -> bytes:
    """Build a later part of a live handler; see section_start for the footer."""
    return bytes([element]) + be32(section_id) + _closed(section_id, body, footer)


def section_end(section_id: int, body: bytes, *, footer: bytes | None = None) -> bytes:
    """Build the last part of a live handler; see section_start for the footer."""
    return section_part(section_id, body, footer=footer, element=SECTION_END)


def end_of_file() -> bytes:
    """Build the byte that ends the elements."""
    return bytes([EOF])


def timer_body(
    *, cpu_ticks_offset: int = 0, unused: bytes = bytes(8), cpu_clock_offset: int = 0
) -> bytes:
    """Build the body of the `timer` device, version 2."""
    return be64(cpu_ticks_offset) + unused + be64(cpu_clock_offset)


def globalstate_body(
    runstate: str | bytes = "paused",
    *,
    size: int | None = None,
    suspended: tuple[int, int] | None = (0, 0),
) -> bytes:
    """Build the body of `globalstate`, version 1.

    Args:
        runstate: The state the guest is to take up.
        size: The length field in place of the string's own, NUL included.
        suspended: has_vm_was_suspended and vm_was_suspended of the layout since 9.0; None
            builds the older one, a plain buffer of 100 bytes.
    """
    raw = encoded(runstate)
    announced = be32(len(raw) + 1 if size is None else size)
    if suspended is None:
        return announced + raw.ljust(100, b"\0")
    return announced + raw.ljust(32, b"\0") + bytes(suspended) + bytes(66)
