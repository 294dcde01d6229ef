"""What the tests with real QEMUs share."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def qemus(pytestconfig: pytest.Config) -> Path:
    """The folder that `fixtures/recorder/get-qemus` was given."""
    folder: str | None = pytestconfig.getoption("--qemus")
    assert folder is not None, "tests that ask for QEMUs are marked with qemu"
    return Path(folder).absolute()
