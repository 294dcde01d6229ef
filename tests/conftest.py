"""What all tests share: the fixtures' files, unpacked, and the options of the test run."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.corpus import Corpus

CaptureFiles = Callable[[str], list[Path]]
FindQemu = Callable[..., Path]

# A run is the same each time and on each machine; `--hypothesis-profile random` looks elsewhere.
_CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
settings.register_profile(
    "steady", derandomize=True, deadline=None, database=None, suppress_health_check=_CHECKS
)
settings.register_profile(
    "random", deadline=None, database=None, suppress_health_check=_CHECKS, print_blob=True
)
settings.load_profile("steady")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of this project."""
    group = parser.getgroup("qmig")
    group.addoption(
        "--qemus",
        metavar="DIR",
        help="folder that fixtures/recorder/get-qemus was given: DIR/bin holds the emulators",
    )
    group.addoption(
        "--require-qemu",
        action="store_true",
        help="fail where a QEMU is missing instead of skipping (also by CI=true)",
    )
    group.addoption(
        "--linux",
        metavar="DIR",
        help="folder that tests.linux.record was given; without it tests/linux is left out",
    )
    group.addoption(
        "--thorough",
        action="store_true",
        help="damage each fixture in ten times as many ways",
    )
    group.addoption(
        "--update-golden",
        action="store_true",
        help="write expected output anew instead of comparing with it",
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Run one test after the other where QEMUs are started: each keeps a processor busy.

    The tests of the Linux guest share what they make of a capture.
    """
    return 0 if config.getoption("--qemus") or config.getoption("--linux") else None


def _without_qemu(config: pytest.Config, reason: str) -> None:
    """Skip the test that needs a QEMU, or fail it where none may be missing."""
    if config.getoption("--require-qemu") or os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Look at once whether a test that needs a QEMU can run."""
    if item.get_closest_marker("qemu") is None:
        return
    folder = item.config.getoption("--qemus")
    if folder is None:
        _without_qemu(item.config, "needs real QEMU builds: give their folder with --qemus DIR")
    elif not Path(folder).is_dir():
        _without_qemu(item.config, f"--qemus {folder} is not a folder")


@pytest.fixture(scope="session")
def find_qemu(pytestconfig: pytest.Config) -> FindQemu:
    """Give a function from release and target to a QEMU: find_qemu("10.0", "s390x")."""

    def find(release: str, target: str = "x86_64") -> Path:
        suffix = "" if target == "x86_64" else f"-{target}"
        folder = pytestconfig.getoption("--qemus")
        path = Path(folder or "") / "bin" / f"qemu-{release}{suffix}"
        if folder is None or not path.exists():
            _without_qemu(pytestconfig, f"needs bin/{path.name} in the folder of --qemus DIR")
        return path

    return find


@pytest.fixture(scope="session")
def update_golden(pytestconfig: pytest.Config) -> bool:
    """Whether expected output is to be written anew."""
    return bool(pytestconfig.getoption("--update-golden"))


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """The fixtures' files, each unpacked when it is first asked for."""
    return Corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def capture_files(corpus: Corpus) -> CaptureFiles:
    """Give a function from a fixture's name to its unpacked files, in the manifest's order."""
    return corpus.files
