"""Running the command line as a user does, with standard output and error apart."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.corpus import FIXTURES

ROOT = Path(__file__).resolve().parents[2]


class Result(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


Run = Callable[..., Result]


def run_qmig(
    arguments: Sequence[str | Path],
    *,
    cwd: Path = ROOT,
    stdin: bytes = b"",
    env: dict[str, str] | None = None,
) -> Result:
    """Run `python -m qmig` in a process of its own, 80 columns wide."""
    plain = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "QMIG_DEBUG")}
    done = subprocess.run(
        [sys.executable, "-m", "qmig", *map(str, arguments)],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        env={**plain, "PYTHONPATH": str(ROOT), "COLUMNS": "80", **(env or {})},
        timeout=60,
        check=False,
    )
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture
def qmig() -> Run:
    """Give `run_qmig`."""
    return run_qmig


@pytest.fixture(params=FIXTURES, scope="session")
def each_name(request: pytest.FixtureRequest) -> str:
    """Run a test once for every fixture in the manifest."""
    return str(request.param)
