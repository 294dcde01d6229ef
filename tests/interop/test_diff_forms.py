"""Captures of one stopped guest in all forms that real QEMUs and a real libvirt write are equal."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pytest

import qmig
from fixtures.recipes import RECIPES
from fixtures.recorder import libvirt
from fixtures.recorder.firmware.image import load_image
from fixtures.recorder.libvirt import DOMAIN
from fixtures.recorder.libvirt_daemon import SHARED, LibvirtDaemon
from fixtures.recorder.machine import Machine
from fixtures.recorder.recipe import FIRMWARE_NAME, Recipe, ToFile
from fixtures.recorder.record import find_emulator, record
from fixtures.recorder.transport import run_migration
from qmig.comparison.model import Outcome, PageState
from tests.conftest import FindQemu
from tests.interop import device_guests
from tests.interop.device_machines import GUESTS
from tests.interop.judge import recorded
from tests.interop.restoring import restored

pytestmark = [pytest.mark.qemu, pytest.mark.timeout(180)]

RELEASES: Final = ("10.0", "11.1")
STOPPED: Final = (
    *("ordinary", "file", "mapped-plain", "mapped-offset", "multifd-none", "multifd-zlib"),
    *("multifd-zstd", "multifd-one-channel", "no-configuration"),
)
PACKED: Final = ("gzip", "bzip2", "xz", "zstd")
LIVE: Final = ("live", "xbzrle", "mapped-live", "mapped-multifd-live")
IMAGES: Final = ("raw", "zstd", "gzip", "sparse")
STANDING: Final = (
    *("pc", "pc-11.1", "pc-7.2", "pc-floppy", "pc-icount", "pc-storage", "pc-networks"),
    *("q35-ahci", "q35-nvme", "microvm", "isapc", "virt", "mps2", "malta"),
)


@dataclass(frozen=True)
class Saved:
    """A recipe, and the files that came of it."""

    recipe: Recipe
    paths: Sequence[Path]


def fresh(name: str, qemus: Path, directory: Path) -> Saved:
    """Record a recipe."""
    recipe = RECIPES[name]
    return Saved(recipe, recorded(name, record(recipe, qemus, directory), directory).paths)


@contextmanager
def loaded_again(saved: Saved, qemus: Path) -> Iterator[Machine]:
    """Load a capture into another QEMU, whose guest does not run."""
    recipe = saved.recipe
    with restored(
        find_emulator(qemus, recipe.qemu),
        recipe.arguments,
        list(saved.paths),
        capabilities=recipe.capabilities,
        parameters=recipe.parameters,
    ) as machine:
        yield machine


def save_as(machine: Machine, recipe: Recipe, qemus: Path, out: Path) -> list[Path]:
    """Save a guest that stands still in the form of a recipe."""
    machine.set_migration(dict.fromkeys(("mapped-ram", "multifd", "xbzrle"), False), {})
    machine.set_migration(recipe.capabilities, recipe.parameters)
    recording = run_migration(machine, replace(recipe, live=False), find_emulator(qemus, "10.0"))
    out.mkdir(exist_ok=True)
    return [Path(shutil.move(file.path, out)) for file in recording.files]


def require_equal(a: Sequence[Path], b: Sequence[Path], *, ran: bool = False) -> None:
    """Two captures of a guest that stood still differ in clocks at most, and in whether it ran."""
    if ran:
        with_state = qmig.compare(list(a), list(b), ignore_clocks=True)
        (section,) = (section for section in with_state.sections if section.fields)
        assert [tuple(fact) for fact in section.facts] == [("run_state", "running", "paused")]
    ignore = ["globalstate"] if ran else []
    found = qmig.compare(list(a), list(b), ignore_clocks=True, ignore=ignore)
    assert [one.path for section in found.sections for one in section.fields] == []
    assert found.only == []
    assert found.outcome is Outcome.EQUAL
    assert sum(block.pages[PageState.EQUAL] for block in found.blocks) > 1000
    assert qmig.compare(list(b), list(a), ignore_clocks=True, ignore=ignore).equal
    assert qmig.compare(list(b), list(b)).equal


@pytest.fixture(scope="module", params=RELEASES)
def first(
    request: pytest.FixtureRequest, qemus: Path, tmp_path_factory: pytest.TempPathFactory
) -> Saved:
    """The ordinary stream of a stopped guest."""
    return fresh(f"qemu-{request.param}-ordinary", qemus, tmp_path_factory.mktemp("first"))


@pytest.mark.parametrize("form", STOPPED)
def test_a_stopped_guest_is_equal_in_each_form(
    form: str, first: Saved, qemus: Path, tmp_path: Path
) -> None:
    recipe = RECIPES[f"qemu-{first.recipe.qemu}-{form}"]
    with loaded_again(first, qemus) as machine:
        paths = save_as(machine, recipe, qemus, tmp_path / "out")
    require_equal(first.paths, paths)


@pytest.mark.parametrize("packer", PACKED)
def test_a_stopped_guest_is_equal_compressed(
    packer: str, qemus: Path, first: Saved, tmp_path: Path
) -> None:
    recipe = RECIPES[f"qemu-10.0-exec-{packer}"]
    with loaded_again(first, qemus) as machine:
        paths = save_as(machine, recipe, qemus, tmp_path / "out")
    require_equal(first.paths, paths)


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("form", LIVE)
def test_a_live_capture_equals_the_guest_that_it_restores(
    form: str, release: str, qemus: Path, tmp_path: Path
) -> None:
    live = fresh(f"qemu-{release}-{form}", qemus, tmp_path)
    ordinary = replace(RECIPES[f"qemu-{release}-ordinary"], transport=ToFile())
    with loaded_again(live, qemus) as machine:
        paths = save_as(machine, ordinary, qemus, tmp_path / "out")
    require_equal(live.paths, paths, ran=True)


def test_images_of_libvirt_are_equal(qemus: Path) -> None:
    root = qemus / "libvirt"
    assert root.is_dir(), f"{root} is missing: get-libvirt {qemus} puts it in place"
    with tempfile.TemporaryDirectory(prefix="qmig-") as scratch:
        directory = Path(scratch)
        (directory / FIRMWARE_NAME).write_bytes(load_image())
        with LibvirtDaemon(root, directory) as daemon:
            libvirt.start_guest(daemon, libvirt.RECIPES["libvirt-12-raw"])
            for form in IMAGES:
                image = f"{SHARED}/{form}.save"
                daemon.virsh("save", DOMAIN, image, "--image-format", form)
                daemon.virsh("restore", image, "--paused")
        first = directory / f"{IMAGES[0]}.save"
        for form in IMAGES[1:]:
            require_equal([first], [directory / f"{form}.save"])


@pytest.mark.parametrize("name", STANDING)
def test_a_guest_that_stood_still_differs_in_clocks_alone(
    name: str, find_qemu: FindQemu, tmp_path: Path
) -> None:
    """Saved, loaded, and saved again without having run: on machines with all kinds of clocks."""
    guest = GUESTS[name]
    binary = find_qemu(guest.qemu, guest.target)
    _, first = device_guests.recorded(guest, binary, tmp_path)
    arguments = (*device_guests.command_line(guest), "-incoming", "defer")
    with Machine(binary, arguments, tmp_path) as machine:
        machine.execute("migrate-incoming", {"uri": f"exec:cat {first.name}"})
        machine.wait_migrated()
        machine.execute("migrate", {"uri": "exec:cat > again"})
        machine.wait_migrated()
    again = tmp_path / "again"
    found = qmig.compare(first, again, ignore_clocks=True, ignore=["globalstate"])
    assert [one.path for section in found.sections for one in section.fields] == []
    assert found.outcome is Outcome.EQUAL
