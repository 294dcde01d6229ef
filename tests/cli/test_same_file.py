"""A capture that standard output is appended to would grow as it is read, without an end."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import ROOT
from tests.conftest import CaptureFiles


@pytest.mark.parametrize(
    "arguments",
    [
        ["extract", "FILE", "--format", "raw", "--stdout"],
        ["extract", "FILE", "--format", "lime", "-o", "-"],
        ["salvage", "FILE", "-o", "-"],
        ["save", "FILE", "--stream", "-"],
    ],
    ids=" ".join,
)
def test_standard_output_that_is_the_input(
    arguments: list[str], capture_files: CaptureFiles, tmp_path: Path
) -> None:
    data = capture_files("qemu-10.0-ordinary")[0].read_bytes()
    path = tmp_path / "vm.sav"
    path.write_bytes(data)
    given = [str(path) if argument == "FILE" else argument for argument in arguments]
    with path.open("ab") as output:
        done = subprocess.run(
            [sys.executable, "-m", "qmig", *given],
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert done.returncode == 2
    assert b"one of the files to read" in done.stderr
    assert path.read_bytes() == data
