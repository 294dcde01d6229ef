"""A recording of the Linux guest, and what is made of each of its captures once.

`--linux DIR` names the folder of the recording. Without it this folder is left out: nothing of it
can be said without one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import qmig
from qmig.export.extract import ExtractFormat, ExtractOptions, extract
from tests.linux.captured import DEBUG_FOLDER, LinuxCapture, read_list


@dataclass(frozen=True)
class Recorded:
    """A capture of the recording.

    Attributes:
        capture: its entry in the recording's list.
        directory: where its files lie.
    """

    capture: LinuxCapture
    directory: Path

    @property
    def paths(self) -> list[Path]:
        """The capture's files, the main one first."""
        return [self.directory / name for name in self.capture.files]

    @property
    def registers(self) -> str:
        """What QEMU printed for `info registers -a`."""
        return (self.directory / self.capture.registers).read_text()

    @property
    def console(self) -> str:
        """What the guest wrote to its serial line."""
        return (self.directory / self.capture.console).read_text(errors="replace")

    @property
    def dump(self) -> Path:
        """QEMU's own core of the same guest."""
        return self.directory / self.capture.dump


@dataclass(frozen=True)
class Core:
    """The ELF core that qmig made of a capture.

    Attributes:
        path: the core.
        vmcoreinfo: where qmig says that the kernel's note is from.
        recorded: the capture.
    """

    path: Path
    vmcoreinfo: str | None
    recorded: Recorded


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the tests of this folder out where there is no recording."""
    if config.getoption("--linux") is None and collection_path.name.startswith("test_"):
        return True
    return None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for `recorded` once for each capture, unless it names captures."""
    marks = metafunc.definition.iter_markers("parametrize")
    if "recorded" in metafunc.fixturenames and not any(
        mark.args[0] == "recorded" for mark in marks
    ):
        names = [one.name for one in read_list(Path(metafunc.config.getoption("--linux")))]
        metafunc.parametrize("recorded", names, indirect=True, scope="session")


@pytest.fixture(scope="session")
def recording(pytestconfig: pytest.Config) -> Path:
    """The folder of the recording."""
    return Path(pytestconfig.getoption("--linux")).absolute()


@pytest.fixture(scope="session")
def recorded(request: pytest.FixtureRequest, recording: Path) -> Recorded:
    """A capture of the recording, by its name; each in turn."""
    (capture,) = (one for one in read_list(recording) if one.name == request.param)
    return Recorded(capture, recording)


@pytest.fixture(scope="session")
def core(recorded: Recorded, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Core]:
    """The ELF core of a capture; it is removed when the next capture's turn comes."""
    path = tmp_path_factory.mktemp("core") / f"{recorded.capture.name}.elf"
    with qmig.open_capture(*recorded.paths) as capture:
        found = extract(capture, path, ExtractOptions(ExtractFormat.ELF))
    yield Core(path, found.vmcoreinfo, recorded)
    path.unlink()


@pytest.fixture(scope="session")
def debug_kernel(recording: Path) -> Path:
    """The guest's kernel with its debug symbols."""
    return recording / DEBUG_FOLDER / "vmlinux"
