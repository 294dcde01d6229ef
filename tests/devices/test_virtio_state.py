"""Virtio devices whose state was made to cost much, or to lead nowhere."""

import time
from pathlib import Path
from typing import Final

import pytest

import qmig
from qmig.devices import open_devices, virtio_state
from qmig.devices.virtio_state import subsections_at
from tests.conftest import CaptureFiles
from tests.devices.described import decoded, device, field

PC: Final = "qemu-10.0-devices-pc"


def marked(name: bytes, body: bytes = b"") -> bytes:
    """A subsection."""
    return b"\5" + bytes([len(name)]) + name + b"\0\0\0\1" + body


BROKEN: Final = marked(b"virtio/broken", b"\1")
STARTED: Final = marked(b"virtio/started", b"\1")
EXTRA: Final = marked(b"virtio/extra_state")
NEXT: Final = marked(b"virtio_mmio/state", bytes(8 + 27 * 1024))


@pytest.mark.parametrize(
    ("data", "at"),
    [
        (b"", 0),
        (b"own", 3),
        (BROKEN, 0),
        (b"own" + BROKEN + STARTED, 3),
        (b"own" + BROKEN[:-1], 3 + len(BROKEN) - 1),
        (BROKEN + BROKEN, len(BROKEN)),  # QEMU sends each one once
        (b"virtio/broken" + STARTED, 13),
        (BROKEN + b"own" + STARTED, len(BROKEN) + 3),
        (BROKEN + EXTRA, len(BROKEN + EXTRA)),  # one must follow within
        (EXTRA + NEXT + STARTED, 0),
        (EXTRA + EXTRA + NEXT, len(EXTRA)),
        (marked(b"virtio/unheard"), len(marked(b"virtio/unheard"))),
        (b"\5\xffvirtio/", 9),
        (b"\5virtio/", 8),
    ],
)
def test_subsections_are_found_behind_the_device_s_own_state(data: bytes, at: int) -> None:
    assert subsections_at(data) == at


def own_state(capture_files: CaptureFiles) -> tuple[bytes, int]:
    """Return a real device's body, and where its own state begins."""
    with qmig.open_capture(capture_files(PC)[0]) as capture:
        (found,) = (one for one in open_devices(capture) if one.name.endswith("/virtio-net"))
        node = found.find("virtio.device_state")
        assert node is not None
        return found.read(), node.offset - found.offset


@pytest.mark.parametrize("piece", [EXTRA, BROKEN, BROKEN[:-1], BROKEN + STARTED, b"virtio/"])
def test_many_of_them_cost_little(
    piece: bytes, capture_files: CaptureFiles, tmp_path: Path
) -> None:
    body, at = own_state(capture_files)
    body = body[:at] + piece * (400_000 // len(piece)) + b"xx"
    start = time.process_time()
    found = decoded(tmp_path, body, device(field("virtio", "virtio", len(body))))
    assert time.process_time() - start < 5
    assert found.error is None
    node = found.find("virtio.device_state")
    assert node is not None
    assert node.length == len(body) - at


def test_what_is_too_long_stays_one_piece(
    capture_files: CaptureFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body, _ = own_state(capture_files)
    whole = device(field("virtio", "virtio", len(body)))
    monkeypatch.setattr(virtio_state, "MAX_VIRTIO_STATE_LEN", len(body))
    assert decoded(tmp_path, body, whole).find("virtio.status") is not None
    monkeypatch.setattr(virtio_state, "MAX_VIRTIO_STATE_LEN", len(body) - 1)
    found = decoded(tmp_path, body, whole)
    assert found.find("virtio.status") is None
    node = found.find("virtio.data")
    assert node is not None
    assert node.length == len(body)
