"""Memory of virtio-mem devices: their state tells the address and which parts are plugged.

Source: hw/virtio/virtio-mem.c of QEMU 10.0 (vmstate_virtio_mem_sanity_checks, the bitmap of
vmstate_virtio_mem_device), migration/vmstate-types.c (put_bitmap).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qmig.devices.tree import leaves
from qmig.export.layout import PhysicalRange

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qmig.devices.devices import Device, Devices
    from qmig.memory import RamBlock

_WORD_LEN = 8


def virtio_mem_ranges(devices: Devices, blocks: Sequence[RamBlock]) -> list[PhysicalRange]:
    """Return the plugged parts of all virtio-mem devices."""
    ranges: list[PhysicalRange] = []
    for device in devices:
        path, slash, name = device.name.rpartition("/")
        if not name.startswith("virtio-mem"):
            continue
        mine = [block for block in blocks if block.name.startswith(path + slash)]
        values, bitmap = _state(device)
        if not {"addr", "region_size", "block_size"} <= values.keys() or len(mine) != 1:
            continue
        if mine[0].used_length != values["region_size"] or not values["block_size"]:
            continue
        ranges += _plugged(device, mine[0], values["addr"], values["block_size"], bitmap)
    return ranges


def _state(device: Device) -> tuple[dict[str, int], bytes]:
    values: dict[str, int] = {}
    bitmap = b""
    for leaf in leaves(device.tree):
        value = getattr(leaf, "value", None)
        if leaf.kind == "bitmap":
            bitmap = device.bytes_of(leaf)
        elif isinstance(value, int):
            values.setdefault(leaf.name, value)
    return values, bitmap


def _plugged(
    device: Device, block: RamBlock, addr: int, step: int, bitmap: bytes
) -> Iterator[PhysicalRange]:
    """Yield the runs of plugged parts; words of the bitmap are big-endian."""
    origin = f"the state of {device.path}"
    words = (bitmap[at : at + _WORD_LEN] for at in range(0, len(bitmap), _WORD_LEN))
    bits = int.from_bytes(b"".join(word[::-1] for word in words), "little")
    at = 0
    while bits:
        skip = (bits & -bits).bit_length() - 1
        bits >>= skip
        run = (~bits & (bits + 1)).bit_length() - 1
        bits >>= run
        start = (at + skip) * step
        length = min(run * step, block.used_length - start)
        if length <= 0:
            return
        yield PhysicalRange(addr + start, length, block.name, start, origin)
        at += skip + run
