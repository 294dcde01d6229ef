"""What docs/interop.md says that real releases do, where no recipe claims it."""

from pathlib import Path

import pytest

import qmig
from fixtures.recipes import RECIPES, shared
from fixtures.recorder import targets
from fixtures.recorder.errors import RecordError
from fixtures.recorder.record import find_emulator, record
from fixtures.recorder.replay import loaded
from fixtures.recorder.target_guests import AVR, FILLED
from tests.interop.judge import recorded

pytestmark = [pytest.mark.qemu, pytest.mark.timeout(120)]


def test_10_0_cannot_save_a_shared_block_into_mapped_ram(qemus: Path, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="Unable to write to file: Bad address"):
        record(shared._shared_mapped("10.0"), qemus, tmp_path)


@pytest.mark.parametrize(
    ("machine", "described"),
    [("1.0", True), ("i440fx-1.4", True), ("i440fx-2.2", False), ("i440fx-2.3", True)],
)
def test_5_2_describes_some_machines_older_than_vmdescriptions(
    machine: str, described: bool, qemus: Path, tmp_path: Path
) -> None:
    name = f"qemu-5.2-machine-{machine}"
    what = recorded(name, record(RECIPES[name], qemus, tmp_path), tmp_path)
    with qmig.open_capture(*what.paths) as capture:
        assert (capture.stream.vmdescription is not None) is described


def test_multifd_flush_does_not_fit_under_the_pages_of_avr(
    qemus: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """10.0 writes the word all the same; neither qmig nor its own destination can read it."""
    target = targets._multifd(targets._stopped(AVR, "multifd", "multifd:none"))
    what = recorded("qemu-10.0-avr-multifd", targets.record(target, qemus, tmp_path), tmp_path)
    with qmig.open_capture(*what.paths) as capture:
        (error,) = capture.errors
        assert isinstance(error, qmig.MalformedStreamError)
        assert error.found == "no flag (word 0x200)"
    directory = tmp_path_factory.mktemp("d")
    (directory / FILLED).write_bytes(target.files[FILLED]())
    recipe = target.recipe
    with (
        pytest.raises(RecordError),
        loaded(
            find_emulator(qemus, recipe.qemu),
            recipe.arguments,
            what.paths,
            directory,
            capabilities=recipe.capabilities,
            parameters=recipe.parameters,
        ),
    ):
        pass
