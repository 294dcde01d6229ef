"""Live handlers other than RAM, and device state that only its owner understands."""

from collections.abc import Iterable

from tests.builders.primitives import be16, be32, be64, counted

# dirty-bitmap
BITMAP_EOS = 0x01
BITMAP_ZEROES = 0x02
BITMAP_NAME = 0x04
BITMAP_DEVICE = 0x08
BITMAP_START = 0x10
BITMAP_COMPLETE = 0x20
BITMAP_BITS = 0x40

# block
BLK_DEVICE = 0x01
BLK_EOS = 0x02
BLK_PROGRESS = 0x04
BLK_ZERO = 0x08
BLK_CHUNK_LEN = 1 << 20
SECTOR_LEN = 512

# s390-storage_attributes, s390-skeys
STATTR_EOS = 0x01
STATTR_MORE = 0x02
STATTR_ERROR = 0x04
STATTR_DONE = 0x08
SKEYS_EOS = 0x01
SKEYS_KEYS = 0x02
SKEYS_ERROR = 0x04

# spapr/htab
HTAB_NONE = 0xFFFFFFFF
HTAB_ENTRY_LEN = 16

# vfio
VFIO_END_OF_STATE = 0xFFFFFFFFEF100001
VFIO_DEV_CONFIG_STATE = 0xFFFFFFFFEF100002
VFIO_DEV_SETUP_STATE = 0xFFFFFFFFEF100003
VFIO_DEV_DATA_STATE = 0xFFFFFFFFEF100004
VFIO_DEV_INIT_DATA_SENT = 0xFFFFFFFFEF100005


def bitmap_chunk(
    flags: int, *, device: str | None = None, bitmap: str | None = None, body: bytes = b""
) -> bytes:
    """Build a chunk of the dirty-bitmap section; names given set their flags."""
    if device is not None:
        flags |= BITMAP_DEVICE
    if bitmap is not None:
        flags |= BITMAP_NAME
    names = b"".join(counted(name) for name in (device, bitmap) if name is not None)
    return bytes([flags]) + names + body


def bitmap_start(device: str, bitmap: str, *, granularity: int = 65536, flags: int = 1) -> bytes:
    """Build the chunk that opens a bitmap."""
    body = be32(granularity) + bytes([flags])
    return bitmap_chunk(BITMAP_START, device=device, bitmap=bitmap, body=body)


def bitmap_bits(
    start_sector: int,
    sectors: int,
    bits: bytes | None,
    *,
    device: str | None = None,
    bitmap: str | None = None,
    size: int | None = None,
) -> bytes:
    """Build a chunk of bits; without any it says that they are all zero."""
    span = be64(start_sector) + be32(sectors)
    if bits is None:
        return bitmap_chunk(BITMAP_BITS | BITMAP_ZEROES, device=device, bitmap=bitmap, body=span)
    body = span + be64(len(bits) if size is None else size) + bits
    return bitmap_chunk(BITMAP_BITS, device=device, bitmap=bitmap, body=body)


def bitmap_complete(*, device: str | None = None, bitmap: str | None = None) -> bytes:
    """Build the chunk that ends a bitmap."""
    return bitmap_chunk(BITMAP_COMPLETE, device=device, bitmap=bitmap)


def bitmap_eos() -> bytes:
    """Build the chunk that ends a part of the dirty-bitmap section."""
    return bitmap_chunk(BITMAP_EOS)


def block_chunk(device: str, sector: int, data: bytes | None) -> bytes:
    """Build a chunk of a disk, 1 MiB of it; without data it is zero."""
    flags = BLK_DEVICE if data is not None else BLK_DEVICE | BLK_ZERO
    return be64(sector * SECTOR_LEN | flags) + counted(device) + (data or b"")


def block_progress(percent: int) -> bytes:
    """Build the record that tells how far the disks have come."""
    return be64(percent * SECTOR_LEN | BLK_PROGRESS)


def block_eos() -> bytes:
    """Build the record that ends a part of the block section."""
    return be64(BLK_EOS)


def htab_start(shift: int | None) -> bytes:
    """Build the start of spapr/htab: the table's size, or that there is none."""
    return be32(HTAB_NONE if shift is None else shift)


def htab_part(chunks: Iterable[tuple[int, bytes, int]]) -> bytes:
    """Build a part of spapr/htab.

    Args:
        chunks: (index, bytes of valid entries, count of invalid entries behind them).
    """
    body = b"".join(
        be32(index) + be16(len(valid) // HTAB_ENTRY_LEN) + be16(invalid) + valid
        for index, valid, invalid in chunks
    )
    return be32(0) + body + be32(0) + be16(0) + be16(0)


def storage_attributes(chunks: Iterable[tuple[int, bytes]], *, done: bool = False) -> bytes:
    """Build a part of s390-storage_attributes from (address, attributes) chunks."""
    body = b"".join(be64(addr | STATTR_MORE) + be64(len(raw)) + raw for addr, raw in chunks)
    return body + (be64(STATTR_DONE) if done else b"") + be64(STATTR_EOS)


def storage_keys(chunks: Iterable[tuple[int, bytes]], *, end: int = SKEYS_EOS) -> bytes:
    """Build s390-skeys from (address, keys) chunks."""
    body = b"".join(be64(addr | SKEYS_KEYS) + be64(len(keys)) + keys for addr, keys in chunks)
    return body + be64(end)


def vfio_setup() -> bytes:
    """Build the start of a vfio section."""
    return be64(VFIO_DEV_SETUP_STATE) + be64(VFIO_END_OF_STATE)


def vfio_data(data: bytes, *, size: int | None = None) -> bytes:
    """Build a tag with a piece of a device's state."""
    return be64(VFIO_DEV_DATA_STATE) + be64(len(data) if size is None else size) + data


def vfio_part(pieces: Iterable[bytes], *, initial_data_sent: bool = False) -> bytes:
    """Build a part or the end of a vfio section.

    Args:
        pieces: The device's data.
        initial_data_sent: End by the tag that asks for the switchover to be acknowledged, which
            stands in place of the usual end, not in front of it.
    """
    body = b"".join(vfio_data(piece) for piece in pieces)
    return body + be64(VFIO_DEV_INIT_DATA_SENT if initial_data_sent else VFIO_END_OF_STATE)


def vfio_config(config: bytes) -> bytes:
    """Build the device's configuration, which only the device can size."""
    return be64(VFIO_DEV_CONFIG_STATE) + config + be64(VFIO_END_OF_STATE)


def slirp_like(length: int = 61) -> bytes:
    """Build an opaque body in which no byte value is missing a reason to mislead.

    It holds a false footer and a false section head, as any device's bytes may.
    """
    false_ends = b"\x7e" + be32(3) + b"\x04" + be32(9) + counted("no-section")
    filler = bytes((7 * index) & 0xFF for index in range(length))
    return (filler + false_ends + filler)[: max(length, len(false_ends) + length)]
