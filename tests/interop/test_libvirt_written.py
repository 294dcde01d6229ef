"""A real libvirt accepts the save images that are written, and its guests have their RAM."""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.catalogue import Truth
from fixtures.recorder.errors import RecordError
from fixtures.recorder.firmware.image import load_image
from fixtures.recorder.libvirt import DOMAIN
from fixtures.recorder.libvirt_daemon import SHARED, LibvirtDaemon
from fixtures.recorder.recipe import FIRMWARE_NAME, mapped_ram_block
from qmig.capture.container import open_container
from qmig.limits import MIB
from qmig.migrate.libvirt_image import LibvirtImage
from qmig.migrate.output import AtomicFile
from qmig.wire.libvirt import QemuSaveFormat
from tests.conftest import CaptureFiles
from tests.corpus import FIXTURES

pytestmark = [pytest.mark.qemu, pytest.mark.timeout(180)]

# Of a guest of 4 MiB; a sparse image is another kind of stream.
ORDINARY, SPARSE = "libvirt-12-raw", "libvirt-12-sparse"

each_format = pytest.mark.parametrize(
    "save_format", [pytest.param(kind, id=kind.name.lower()) for kind in QemuSaveFormat]
)


@pytest.fixture(scope="module")
def daemon(qemus: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LibvirtDaemon]:
    root = qemus / "libvirt"
    assert root.is_dir(), f"{root} is missing: get-libvirt {qemus} puts it in place"
    directory = tmp_path_factory.mktemp("libvirt")
    (directory / FIRMWARE_NAME).write_bytes(load_image())
    with LibvirtDaemon(root, directory) as daemon:
        yield daemon


def source_name(save_format: QemuSaveFormat) -> str:
    return SPARSE if save_format is QemuSaveFormat.SPARSE else ORDINARY


def rewrite(
    path: Path, out: Path, save_format: QemuSaveFormat, *, was_running: bool, finished: bool = True
) -> None:
    """Write an image around the stream of another one."""
    container = open_container(path)
    read, start = container.libvirt, container.stream_offset
    container.close()
    assert read is not None
    image = LibvirtImage(
        read.xml, cookie=read.cookie, was_running=was_running, save_format=save_format
    )
    with AtomicFile(out) as file:
        sink = image.begin(file)
        assert save_format is not QemuSaveFormat.SPARSE or sink.position == start
        stream = memoryview(path.read_bytes())[start:]
        for at in range(0, len(stream), MIB):
            sink.append(stream[at : at + MIB])
        if finished:
            image.finish()
        file.commit()


def require_ram(daemon: LibvirtDaemon, truth: Truth | None) -> None:
    assert truth is not None
    block = truth.blocks["pc.ram"]
    assert block.ranges
    mapped = {item.addr: item for item in mapped_ram_block("pc.ram", block.used_length)}
    for part in block.ranges:
        data = daemon.save_physical(DOMAIN, mapped[part.addr].physical_addr, part.length)
        assert hashlib.sha256(data).hexdigest() == part.sha256


@each_format
def test_guest_is_restored(
    save_format: QemuSaveFormat, daemon: LibvirtDaemon, capture_files: CaptureFiles
) -> None:
    (path,) = capture_files(source_name(save_format))
    image = daemon.directory / f"{save_format.name}.save"
    rewrite(path, image, save_format, was_running=True)
    original = daemon.directory / path.name
    shutil.copyfile(path, original)
    shown = [
        daemon.virsh("save-image-dumpxml", f"{SHARED}/{name}")
        for name in (original.name, image.name)
    ]
    assert "<name>tiny</name>" in shown[0]
    assert shown[1] == shown[0]
    daemon.virsh("restore", f"{SHARED}/{image.name}", "--paused")
    try:
        assert daemon.virsh("domstate", DOMAIN) == "paused"
        require_ram(daemon, FIXTURES[source_name(save_format)].truth)
        daemon.virsh("resume", DOMAIN)
        assert daemon.virsh("domstate", DOMAIN) == "running"
    finally:
        daemon.virsh("destroy", DOMAIN)


@pytest.mark.parametrize(("was_running", "state"), [(True, "running"), (False, "paused")])
def test_guest_goes_on_as_the_header_says(
    was_running: bool, state: str, daemon: LibvirtDaemon, capture_files: CaptureFiles
) -> None:
    (path,) = capture_files(ORDINARY)
    image = daemon.directory / f"{state}.save"
    rewrite(path, image, QemuSaveFormat.ZSTD, was_running=was_running)
    daemon.virsh("restore", f"{SHARED}/{image.name}")
    try:
        assert daemon.virsh("domstate", DOMAIN) == state
    finally:
        daemon.virsh("destroy", DOMAIN)


@each_format
def test_unfinished_image_is_refused(
    save_format: QemuSaveFormat, daemon: LibvirtDaemon, capture_files: CaptureFiles
) -> None:
    (path,) = capture_files(source_name(save_format))
    image = daemon.directory / f"unfinished-{save_format.name}.save"
    rewrite(path, image, save_format, was_running=True, finished=False)
    with pytest.raises(RecordError, match="save image is incomplete"):
        daemon.virsh("restore", f"{SHARED}/{image.name}", "--paused")
