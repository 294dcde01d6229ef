"""The fields that QEMU describes as one piece, and who takes them apart.

A decoder is given the body at the field's first byte, the group to fill, the field's size and its
path for errors. What it adds must tile the field; the caller checks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qmig.devices.pci_config import decode_config, decode_msix
from qmig.devices.virtio_state import decode_virtio

if TYPE_CHECKING:
    from collections.abc import Callable

    from qmig.devices.body import Body
    from qmig.devices.tree import Group

    Decode = Callable[[Body, Group, int, str], None]

DECODERS: Final[dict[str, Decode]] = {
    "pci config": decode_config,
    "msix state": decode_msix,
    "virtio": decode_virtio,
}
