"""What is made of fields: numbers from the specifications, not from the code."""

from pathlib import Path
from typing import Any

import pytest

import qmig
from qmig.devices import open_devices
from qmig.devices.facts import facts_of
from qmig.devices.live_facts import live_facts
from qmig.devices.pci_config import capabilities, msix_vectors
from qmig.devices.tree import Blob, Field
from qmig.devices.virtio_names import device_of_pci, feature_names
from tests.builders import framing, handlers
from tests.conftest import CaptureFiles
from tests.corpus import FIXTURES, each_fixture
from tests.devices.described import decoded, device, field


def facts(files: list[Path], name: str) -> Any:  # noqa: ANN401  # any facts
    with qmig.open_capture(*files) as capture:
        (found,) = open_devices(capture).named(name)
        return facts_of(found)


def pci_config(*listed: tuple[int, int, int]) -> bytes:
    """Build configuration space with a list of capabilities: place, number, place of the next."""
    config = bytearray(256)
    config[0:4] = bytes.fromhex("f41a0010")
    config[6] = 0x10
    config[0x34] = listed[0][0]
    for at, number, following in listed:
        config[at], config[at + 1] = number, following
    return bytes(config)


def test_capabilities_end_where_their_list_goes_in_a_circle() -> None:
    config = pci_config((0x40, 0x11, 0x50), (0x50, 0x05, 0x40))
    assert [(one.at, one.name) for one in capabilities(config)] == [(0x40, "MSIX"), (0x50, "MSI")]
    assert msix_vectors(config) == 1
    assert [one.name for one in capabilities(pci_config((0x40, 0xEE, 0x04)))] == ["0xee"]


def test_bars_and_ids(tmp_path: Path) -> None:
    config = bytearray(256)
    config[0:4] = bytes.fromhex("86801012")
    config[4] = 0x07
    config[0x0A:0x0C] = bytes.fromhex("0002")
    config[0x10:0x14] = (0xC001).to_bytes(4, "little")
    config[0x14:0x1C] = (0x1_FEBF_0000 | 0xC).to_bytes(8, "little")
    config[0x30:0x34] = (0xFEA0_0001).to_bytes(4, "little")
    config[0x3D] = 2
    found = decoded(
        tmp_path,
        bytes(config),
        device(field("config[0]", "pci config", 256), name="0000:00:03.0/nic"),
        name="0000:00:03.0/nic",
    )
    what, known = facts_of_open(found, tmp_path)
    assert what == "PCI 8086:1210, Ethernet"
    assert known["address"] == "0000:00:03.0"
    assert known["command"] == ["IO", "MEMORY", "MASTER"]
    assert known["interrupt_pin"] == "B"
    assert [(bar["bar"], bar["kind"], bar["addr"]) for bar in known["bars"]] == [
        (0, "I/O", 0xC000),
        (1, "64-bit memory", 0x1_FEBF_0000),
        (6, "ROM", 0xFEA0_0000),
    ]
    assert [bar["prefetchable"] for bar in known["bars"]] == [False, True, False]


def facts_of_open(found: object, folder: Path) -> Any:  # noqa: ANN401  # any facts
    del found  # its file is closed: facts are read from the file again
    with qmig.open_capture(folder / "stream") as capture:
        return facts_of(list(open_devices(capture))[-1])


@pytest.mark.parametrize(
    ("ids", "name"),
    [((0x1000, 1), "net"), ((0x1041, 0x1100), "net"), ((0x1050, 0), "gpu"), ((0x1237, 1), None)],
)
def test_virtio_devices_by_their_pci_ids(ids: tuple[int, int], name: str | None) -> None:
    assert device_of_pci(*ids) == name


def test_features_have_names() -> None:
    assert feature_names("blk", 1 << 32 | 1 << 29 | 1 << 9) == [
        "VIRTIO_BLK_F_FLUSH",
        "VIRTIO_RING_F_EVENT_IDX",
        "VIRTIO_F_VERSION_1",
    ]
    assert feature_names(None, 1 << 9) == ["bit 9"]


def test_features_above_bit_63(capture_files: CaptureFiles, tmp_path: Path) -> None:
    """QEMU since 10.2 sends them in subsections of their own, one of them within another."""
    with qmig.open_capture(capture_files("qemu-11.1-devices-pc")[0]) as capture:
        (plain,) = (one for one in open_devices(capture) if one.name.endswith("/virtio-net"))
        before = facts_of(plain)[1]
        modern = plain.find("virtio.virtio/extra_state.virtio_pci/modern_state")
        assert modern is not None
        body, end = plain.read(), modern.offset + modern.length - plain.offset
    at = body.index(b"\x05\x11virtio/virtqueues")
    name, nested = b"virtio/128bit_features", b"virtio_pci/modern_state/features128"
    version = b"\0\0\0\1"
    features = b"\x05" + bytes([len(name)]) + name + version + b"\0\0\0\0\0\0\0\x06"
    chosen = b"\x05" + bytes([len(nested)]) + nested + version + b"\0\0\0\x06\0\0\0\0"
    body = body[:at] + features + body[at:end] + chosen + body[end:]
    found = decoded(tmp_path, body, device(field("virtio", "virtio", len(body))))
    assert found.error is None
    known = facts_of_open(found, tmp_path)[1]
    tunnels = ["VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO", "VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO_CSUM"]
    assert known["features"] == [*before["features"], *tunnels]
    assert known["guest_features"] == before["guest_features"] | 6 << 64
    assert known["queues"] == before["queues"]
    path = "virtio.virtio/extra_state.virtio_pci/modern_state.virtio_pci/modern_state/features128"
    assert found.find(f"{path}.guest_features[0]") is not None


def test_the_clock_and_the_memory_that_a_pc_notes(capture_files: CaptureFiles) -> None:
    what, known = facts(capture_files("qemu-10.0-devices-pc"), "mc146818rtc")
    assert what == "RTC at 2026-11-21 14:23:08"
    assert known["memory_below_1m_len"] == 640 * 1024
    assert known["memory_1m_to_64m_len"] == 3 << 20  # of a guest with 4 MiB


def test_the_clock_of_s390x(capture_files: CaptureFiles, tmp_path: Path) -> None:
    """The fixture was recorded on a day that the other ones tell of, too."""
    what, known = facts(capture_files("qemu-10.0-s390x-stopped"), "todclock")
    assert what == "TOD clock at 2026-11-21 14:18:15"
    assert (known["high"], known["low"]) == (0, 0xE39DA50D5FC63EE5)
    none = device(field("data", "buffer", 10), name="todclock")
    decoded(tmp_path, bytes(10), none, name="todclock")
    assert facts_of_open(None, tmp_path) == ("TOD clock without a value", {"present": False})


@each_fixture
def test_the_run_state_is_that_of_the_survey(name: str, capture_files: CaptureFiles) -> None:
    with qmig.open_capture(*capture_files(name)) as capture:
        found = open_devices(capture).named("globalstate")
        states = [facts_of(one)[1].get("run_state") for one in found]
        assert states in ([capture.survey.run_state], [])


def test_dirty_bitmaps_by_node_and_name(capture_files: CaptureFiles) -> None:
    with qmig.open_capture(*capture_files("qemu-10.0-dirty-bitmap")) as capture:
        bitmaps = live_facts(capture)["dirty_bitmaps"]
    assert [
        (one["node"], one["name"], one["granularity_len"], one["enabled"]) for one in bitmaps
    ] == [
        ("disk0", "bitmap1", 4096, False),
        ("disk0", "bitmap0", 65536, True),
    ]
    assert all(one["complete"] and one["end_addr"] == 1 << 20 for one in bitmaps)


def test_storage_attributes_by_their_ranges(tmp_path: Path) -> None:
    chunks = [(0x1000, b"\5\6"), (0x7000, b"\1")]
    path = tmp_path / "stream"
    name = "s390-storage_attributes"
    path.write_bytes(
        framing.file_header()
        + framing.configuration("s390-ccw-virtio-10.0")
        + framing.section_start(3, name, handlers.storage_attributes(chunks[:1]), version_id=0)
        + framing.section_end(3, handlers.storage_attributes(chunks[1:], done=True))
        + framing.end_of_file()
    )
    with qmig.open_capture(path) as capture:
        assert capture.errors == []
        assert live_facts(capture) == {
            "storage_attributes": [{"addr": 0x1000, "pages": 2}, {"addr": 0x7000, "pages": 1}]
        }


def test_live_handlers_alone_are_told_of(capture_files: CaptureFiles) -> None:
    found = set()
    for name in FIXTURES:
        if "ppc64-live" in name or "s390x-live" in name or name == "qemu-10.0-live":
            with qmig.open_capture(*capture_files(name)) as capture:
                found.add((name, *live_facts(capture)))
    assert ("qemu-10.0-live",) in found
    assert ("qemu-10.0-ppc64-live", "hash_table") in found


def test_many_bytes_are_read_when_they_are_asked_for(tmp_path: Path) -> None:
    body = bytes(range(256)) * 1024
    found = decoded(tmp_path, body, device(field("b", "buffer", len(body))))
    node = found.tree.children[0]
    assert isinstance(node, Field)
    assert isinstance(node.value, Blob)
    with qmig.open_capture(tmp_path / "stream") as capture:
        again = list(open_devices(capture))[-1].tree.children[0]
        assert isinstance(again, Field)
        assert isinstance(again.value, Blob)
        assert again.value.read() == body
        assert again.value.read(300) == body[:300]
