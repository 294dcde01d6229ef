"""Plain command lines of `qmig extract` are read without the option parser, and as it does."""

import pytest

from qmig.cli import extract_options
from qmig.cli.extract_request import PLAIN_OPTIONS, plain_request
from tests.cli.parsed import Kept, modules_loaded_by, parse
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
    monkeypatch.setattr(extract_options, "run_extract", keep := Kept())
    assert parse("extract", arguments) == 0
    assert keep.requests == [plain_request(arguments)]


def test_every_plain_option_is_compared() -> None:
    used = {argument for arguments in PLAIN for argument in arguments}
    assert set(PLAIN_OPTIONS) <= used


@pytest.mark.parametrize("arguments", NOT_PLAIN, ids=" ".join)
def test_the_rest_is_left_to_the_parser(arguments: list[str]) -> None:
    assert plain_request(arguments) is None


def test_a_plain_extract_loads_no_parser(capture_files: CaptureFiles) -> None:
    (stream,) = capture_files("qemu-10.0-ordinary")
    loaded = modules_loaded_by("extract", stream, "--format", "raw", "-o", "/dev/null")
    assert "qmig.export.image" in loaded
    assert not loaded & {"typer", "rich", "pydantic", "zstandard", "shutil"}
