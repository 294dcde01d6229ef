"""Plain command lines of `qmig save` are read without the option parser, and as it reads them."""

from pathlib import Path

import pytest

from qmig.cli import save_options
from qmig.cli.save_request import PLAIN_OPTIONS, plain_request
from tests.cli.parsed import Kept, modules_loaded_by, parse

PLAIN = [
    ["--fixed-ram", "out"],
    ["--mapped-ram", "out", "in"],
    ["in", "--stream", "-"],
    ["-", "--stream", "out", "--json"],
    ["main", "ch0", "--multifd", "set", "ch1", "--channels", "4", "--force"],
    ["--ram", "pc.ram=a=b", "--ram", "x=y", "--devices-from", "d", "--devices-from", "e"],
    ["in", "--fixed-ram", "a", "--mapped-ram", "b", "--stream", "c", "--direct-io", "--quiet"],
    ["--channels", "0", "--channels", "1000", "--fixed-ram", "out"],
    ["--quiet", "--quiet"],
]
NOT_PLAIN = [
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
]


@pytest.mark.parametrize("arguments", PLAIN, ids=" ".join)
def test_plain_lines_are_read_as_the_parser_does(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(save_options, "_save", keep := Kept())
    assert parse("save", arguments) == 0
    assert keep.requests == [plain_request(arguments)]


def test_every_plain_option_is_compared() -> None:
    used = {argument for arguments in PLAIN for argument in arguments}
    assert set(PLAIN_OPTIONS) <= used


@pytest.mark.parametrize("arguments", NOT_PLAIN, ids=" ".join)
def test_the_rest_is_left_to_the_parser(arguments: list[str]) -> None:
    assert plain_request(arguments) is None


def test_a_plain_save_loads_no_parser_and_no_reader(tmp_path: Path) -> None:
    dump = tmp_path / "dump"
    dump.write_bytes(bytes(4096))
    loaded = modules_loaded_by("save", "--ram", f"pc.ram={dump}", "--fixed-ram", tmp_path / "out")
    assert "qmig.migrate.output" in loaded
    heavy = {"typer", "rich", "zstandard", "qmig.capture.capture", "qmig.migrate.synthetic"}
    assert not loaded & heavy
