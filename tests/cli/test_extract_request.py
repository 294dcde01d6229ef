"""Plain command lines of `qmig extract` are read without the option parser, and as it does."""

import subprocess
import sys

import pytest

from qmig.cli import extract_options
from qmig.cli.app import run
from qmig.cli.extract_request import PLAIN_OPTIONS, ExtractRequest, plain_request
from tests.cli.conftest import ROOT
from tests.conftest import CaptureFiles

PLAIN = [
    ["in", "-o", "out"],
    ["in", "--out", "out", "--format", "raw", "--force", "--quiet", "--json"],
    ["main", "ch0", "ch1", "-o", "-", "--format", "elf", "--missing", "error"],
    ["-", "--format", "lime", "--stdout", "--stdout"],
    ["in", "--block", "pc.ram", "--block", "a=b", "-o", "out", "--missing", "hole"],
    ["in", "--main-ram", "a", "--main-ram", "b", "--without", "c", "-o", "first", "-o", "second"],
]
NOT_PLAIN = [
    [],
    ["in"],
    ["-o", "out"],
    ["--help"],
    ["in", "-o"],
    ["in", "-o", ""],
    ["in", "-o", "--quiet"],
    ["in", "-oout"],
    ["in", "--out=out"],
    ["", "-o", "out"],
    ["--", "in", "-o", "out"],
    ["in", "-o", "out", "--stdout"],
    ["in", "-o", "out", "--missing", "zero"],
    ["in", "-o", "out", "--range", "0:1"],
    ["in", "-o", "out", "--place", "a=1"],
    ["in", "-o", "out", "--below-4g", "1G"],
]


@pytest.mark.parametrize("arguments", PLAIN, ids=" ".join)
def test_plain_lines_are_read_as_the_parser_does(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[ExtractRequest] = []

    def keep(request: ExtractRequest) -> int:
        parsed.append(request)
        return 0

    monkeypatch.setattr(extract_options, "run_extract", keep)
    monkeypatch.setattr(sys, "argv", ["qmig", "extract", *arguments])
    assert run() == 0
    assert plain_request(arguments) == parsed[0]


def test_every_plain_option_is_compared() -> None:
    used = {argument for arguments in PLAIN for argument in arguments}
    assert set(PLAIN_OPTIONS) <= used


@pytest.mark.parametrize("arguments", NOT_PLAIN, ids=" ".join)
def test_the_rest_is_left_to_the_parser(arguments: list[str]) -> None:
    assert plain_request(arguments) is None


def test_a_plain_extract_loads_no_parser(capture_files: CaptureFiles) -> None:
    (stream,) = capture_files("qemu-10.0-ordinary")
    arguments = ["qmig", "extract", str(stream), "--format", "raw", "-o", "/dev/null"]
    script = (
        f"import sys; sys.argv = {arguments!r}\n"
        "from qmig.__main__ import main\n"
        "assert main() == 0\n"
        "heavy = {'typer', 'rich', 'pydantic', 'zstandard', 'shutil'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
