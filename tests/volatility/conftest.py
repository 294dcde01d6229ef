"""What the tests of Volatility's layer share."""

import os
from collections.abc import Iterator

import pytest

from tests.volatility.stacked import Stacks


@pytest.fixture(scope="session", autouse=True)
def volatility_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep what Volatility stores out of the home of who runs the tests."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("volatility-cache"))


@pytest.fixture
def stack() -> Iterator[Stacks]:
    """Give a function from a file to the layers that are put on it, the topmost first."""
    with Stacks() as stacks:
        yield stacks
