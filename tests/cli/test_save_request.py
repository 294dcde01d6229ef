"""Plain command lines of `qmig save` are read without the option parser, and as it reads them."""

import subprocess
import sys
from pathlib import Path

import pytest

from qmig.cli import save_options
from qmig.cli.app import run
from qmig.cli.save_request import PLAIN_OPTIONS, SaveRequest, plain_request
from tests.cli.conftest import ROOT

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
    parsed: list[SaveRequest] = []

    def keep(request: SaveRequest) -> int:
        parsed.append(request)
        return 0

    monkeypatch.setattr(save_options, "_save", keep)
    monkeypatch.setattr(sys, "argv", ["qmig", "save", *arguments])
    assert run() == 0
    assert plain_request(arguments) == parsed[0]


def test_every_plain_option_is_compared() -> None:
    used = {argument for arguments in PLAIN for argument in arguments}
    assert set(PLAIN_OPTIONS) <= used


@pytest.mark.parametrize("arguments", NOT_PLAIN, ids=" ".join)
def test_the_rest_is_left_to_the_parser(arguments: list[str]) -> None:
    assert plain_request(arguments) is None


def test_a_plain_save_loads_no_parser_and_no_reader(tmp_path: Path) -> None:
    dump = tmp_path / "dump"
    dump.write_bytes(bytes(4096))
    arguments = ["qmig", "save", "--ram", f"pc.ram={dump}", "--fixed-ram", str(tmp_path / "out")]
    script = (
        f"import sys; sys.argv = {arguments!r}\n"
        "from qmig.__main__ import main\n"
        "assert main() == 0\n"
        "heavy = {'typer', 'rich', 'zstandard', 'qmig.capture.capture', 'qmig.migrate.synthetic'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
