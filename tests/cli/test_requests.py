"""Plain command lines of verbs are read without the option parser, and as it reads them."""

from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

from qmig.cli import extract_options, extract_request, save_options, save_request
from tests.cli.parsed import Kept, modules_loaded_by, parse
from tests.conftest import CaptureFiles

PLAIN = {
    "extract": [
        ["in", "-o", "out"],
        ["in", "--out", "out", "--format", "raw", "--force", "--quiet", "--json"],
        ["main", "ch0", "ch1", "-o", "-", "--format", "elf", "--missing", "error"],
        ["-", "--format", "lime", "--stdout", "--stdout"],
        ["in", "--block", "pc.ram", "--block", "a=b", "-o", "out", "--missing", "hole"],
        [
            "in",
            "--main-ram",
            "a",
            "--main-ram",
            "b",
            "--without",
            "c",
            "-o",
            "first",
            "-o",
            "second",
        ],
    ],
    "save": [
        ["--fixed-ram", "out"],
        ["--mapped-ram", "out", "in"],
        ["in", "--stream", "-"],
        ["-", "--stream", "out", "--json"],
        ["main", "ch0", "--multifd", "set", "ch1", "--channels", "4", "--force"],
        ["--ram", "pc.ram=a=b", "--ram", "x=y", "--devices-from", "d", "--devices-from", "e"],
        ["in", "--fixed-ram", "a", "--mapped-ram", "b", "--stream", "c", "--direct-io", "--quiet"],
        ["--channels", "0", "--channels", "1000", "--fixed-ram", "out"],
        ["--quiet", "--quiet"],
    ],
}
NOT_PLAIN = {
    "extract": [
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
    ],
    "save": [
        [],
        ["--help"],
        ["-h"],
        ["--fixed-ram"],
        ["--fixed-ram", ""],
        ["--fixed-ram", "--quiet"],
        ["--fixed-ram=out"],
        ["--fixed", "out"],
        ["", "--fixed-ram", "out"],
        ["--", "--fixed-ram", "out"],
        ["--channels", "0x4", "--fixed-ram", "out"],
        ["--channels", "04", "--fixed-ram", "out"],
        ["--channels", "-1", "--fixed-ram", "out"],
        ["--channels", "\N{SUPERSCRIPT TWO}", "--fixed-ram", "out"],
        ["--ram", "pc.ram", "--fixed-ram", "out"],
        ["--ram", "=dump", "--fixed-ram", "out"],
        ["--ram", "pc.ram=", "--fixed-ram", "out"],
        ["--size", "1M", "--fixed-ram", "out"],
        ["in", "--xbzrle", "--stream", "out"],
    ],
}


class Verb(NamedTuple):
    """Where a verb's command line is read: without the parser; and with it, and what it calls."""

    request: ModuleType
    options: ModuleType
    called: str


VERBS = {
    "extract": Verb(extract_request, extract_options, "run_extract"),
    "save": Verb(save_request, save_options, "_save"),
}


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [(verb, line) for verb, lines in PLAIN.items() for line in lines],
    ids=str,
)
def test_plain_lines_are_read_as_the_parser_does(
    verb: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VERBS[verb].options, VERBS[verb].called, keep := Kept())
    assert parse(verb, arguments) == 0
    assert keep.requests == [VERBS[verb].request.plain_request(arguments)]


@pytest.mark.parametrize("verb", VERBS)
def test_every_plain_option_is_compared(verb: str) -> None:
    used = {argument for arguments in PLAIN[verb] for argument in arguments}
    assert set(VERBS[verb].request.PLAIN_OPTIONS) <= used


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [(verb, line) for verb, lines in NOT_PLAIN.items() for line in lines],
    ids=str,
)
def test_the_rest_is_left_to_the_parser(verb: str, arguments: list[str]) -> None:
    assert VERBS[verb].request.plain_request(arguments) is None


def test_a_plain_extract_loads_no_parser(capture_files: CaptureFiles) -> None:
    (stream,) = capture_files("qemu-10.0-ordinary")
    loaded = modules_loaded_by("extract", stream, "--format", "raw", "-o", "/dev/null")
    assert "qmig.export.image" in loaded
    assert not loaded & {"typer", "rich", "pydantic", "zstandard", "shutil"}


def test_a_plain_save_loads_no_parser_and_no_reader(tmp_path: Path) -> None:
    dump = tmp_path / "dump"
    dump.write_bytes(bytes(4096))
    loaded = modules_loaded_by("save", "--ram", f"pc.ram={dump}", "--fixed-ram", tmp_path / "out")
    assert "qmig.migrate.output" in loaded
    heavy = {"typer", "rich", "zstandard", "qmig.capture.capture", "qmig.migrate.synthetic"}
    assert not loaded & heavy
