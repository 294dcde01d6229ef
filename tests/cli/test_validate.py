"""`qmig validate` as a user and as a program meet it."""

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import qmig as package
from qmig.checks.registry import RULES
from qmig.checks.rule import Outcome
from qmig.limits import MAX_FINDINGS_OF_A_RULE
from qmig.render.report_validate import build_validate_report
from qmig.render.text_validate import rule_text_lines, validate_text_lines
from tests.builders import framing, vmdesc
from tests.checks.broken_framing import ended, sound, stream
from tests.checks.example import MAIN, write_files
from tests.checks.examples import all_examples
from tests.cli.conftest import Run
from tests.conftest import CaptureFiles
from tests.documents import schema_of, validator_of

EXAMPLES = all_examples()


def written(data: bytes, directory: Path, name: str = "vm.sav") -> Path:
    """Write a file and return its path."""
    path = directory / name
    path.write_bytes(data)
    return path


def broken(rule_id: str, directory: Path) -> list[Path]:
    """Write the files that break a rule."""
    return write_files(EXAMPLES[rule_id].broken().files, directory)


def report_of(paths: list[Path]) -> dict[str, Any]:
    """Return the document about files."""
    return build_validate_report(package.validate(*paths), [path.name for path in paths])


def test_sound_file_is_called_whole_and_right(qmig: Run, tmp_path: Path) -> None:
    done = qmig(["validate", written(sound()[MAIN], tmp_path).name], cwd=tmp_path)
    assert done == (0, "vm.sav: whole and right\n", "")


def test_damage_is_told_with_place_rule_and_message(qmig: Run, tmp_path: Path) -> None:
    (path,) = broken("QM018", tmp_path)
    done = qmig(["validate", path.name], cwd=tmp_path)
    assert done.code == 1
    assert done.err == ""
    first = done.out.splitlines()[0]
    assert first == "main: damaged (1 error); QEMU 10.0 refuses it"
    example = EXAMPLES["QM018"].broken()
    assert f"0x{example.offset:08x} QM018 footer of FULL section 'timer'" in done.out
    assert "QEMU: Mismatched section id in footer for timer - read 0x77 expected 0x0" in done.out


@pytest.mark.parametrize(
    ("rule_id", "fail_on", "code"),
    [
        ("QM018", "error", 1),
        ("QM018", "never", 0),
        ("QM025", "error", 0),
        ("QM025", "warning", 1),
        ("QM022", "warning", 0),
        ("QM022", "note", 1),
    ],
)
def test_fail_on_decides_the_exit_code(
    rule_id: str, fail_on: str, code: int, qmig: Run, tmp_path: Path
) -> None:
    assert qmig(["validate", "--fail-on", fail_on, *broken(rule_id, tmp_path)]).code == code


def test_rules_can_be_selected_and_ignored(qmig: Run, tmp_path: Path) -> None:
    paths = broken("QM018", tmp_path)
    assert qmig(["validate", "--select", "QM1,QM2", *paths]).code == 0
    assert qmig(["validate", "--select", "QM018", *paths]).code == 1
    assert qmig(["validate", "--ignore", "QM0", *paths]).code == 0
    assert qmig(["validate", "--ignore", "QM017", *paths]).code == 1
    wrong = qmig(["validate", "--select", "QM9", *paths])
    assert wrong.code == 2
    assert wrong.err == "qmig: 'QM9' begins the id of no rule, as QM2 or QM201 do\n"


def test_some_rules_do_not_call_a_file_right(qmig: Run, tmp_path: Path) -> None:
    paths = broken("QM018", tmp_path)
    for options in (["--select", "QM1"], ["--ignore", "QM0"]):
        done = qmig(["validate", *options, *paths])
        assert done.code == 0
        text = " ".join(done.out.split())  # long names wrap
        assert ": no error by the rules that were asked for" in text
        assert "whole and right" not in text


@pytest.mark.parametrize("wrong", [["QM9"], ["QM1", ""], ["nonsense"], "QM0"])
def test_a_call_refuses_what_begins_no_rule(wrong: list[str], tmp_path: Path) -> None:
    """It would ask for nothing, and find everything sound; a text is not a list of one."""
    paths = broken("QM018", tmp_path)
    with pytest.raises(ValueError, match="begins the id of no rule"):
        package.validate(*paths, select=wrong)
    with pytest.raises(ValueError, match="begins the id of no rule"):
        package.validate(*paths, ignore=wrong)


def test_explain_writes_no_json(qmig: Run) -> None:
    done = qmig(["validate", "--explain", "QM017", "--json"])
    assert (done.code, done.out) == (2, "")


def test_rule_is_explained(qmig: Run, tmp_path: Path) -> None:
    done = qmig(["validate", "--explain", "QM017"])
    assert done.code == 0
    assert "Missing section footer for {idstr}" in done.out
    assert "check_section_footer" in done.out
    assert qmig(["validate", "--explain", "QM999"]).code == 2
    assert qmig(["validate", "--explain", "QM017", written(b"", tmp_path)]).code == 2


@pytest.mark.parametrize("rule_id", RULES)
def test_every_explanation_fits(rule_id: str) -> None:
    assert all(len(line) <= 100 for line in rule_text_lines(RULES[rule_id]))


def test_every_outcome_has_its_words_and_stands_in_the_schema() -> None:
    outcomes = schema_of("validate")["$defs"]["rule"]["properties"]["outcome"]["enum"]
    assert sorted(outcomes) == sorted(outcome.value for outcome in Outcome)
    for outcome in Outcome:
        rule = replace(RULES["QM017"], outcome=outcome)
        assert any("QEMU 10.0" in line for line in rule_text_lines(rule))


def test_what_is_no_stream_cannot_be_judged(qmig: Run, tmp_path: Path) -> None:
    done = qmig(["validate", written(b"some text\n", tmp_path)])
    assert done.code == 3
    assert done.out == ""
    assert "is no migration stream" in done.err


def test_wrong_severity_is_wrong_usage(qmig: Run, tmp_path: Path) -> None:
    done = qmig(["validate", "--fail-on", "fatal", written(sound()[MAIN], tmp_path)])
    assert done.code == 2
    assert "error, warning, note, never" in done.err


def test_standard_input_is_judged(qmig: Run) -> None:
    done = qmig(["validate", "-"], stdin=sound()[MAIN])
    assert (done.code, done.out) == (0, "-: whole and right\n")


def test_report_goes_to_a_file(qmig: Run, tmp_path: Path) -> None:
    path, out = written(sound()[MAIN], tmp_path), tmp_path / "report"
    done = qmig(["validate", "--json", "--output", out, path])
    assert (done.code, done.out) == (0, "")
    assert json.loads(out.read_text())["verdict"] == "sound"
    assert qmig(["validate", "--output", out, path]).code == 2


@pytest.mark.parametrize("rule_id", EXAMPLES)
def test_json_follows_the_schema_and_text_fits(rule_id: str, tmp_path: Path) -> None:
    report = report_of(broken(rule_id, tmp_path))
    validator_of("validate").validate(report)
    lines = list(validate_text_lines(report))
    assert all(len(line) <= 100 for line in lines), lines
    assert any(rule_id in line for line in lines)
    assert "QEMU" in lines[0] or report["verdict"] != "damaged"


def test_cut_file_tells_what_is_missing(capture_files: CaptureFiles, tmp_path: Path) -> None:
    (whole,) = capture_files("qemu-10.0-file")
    data = whole.read_bytes()
    report = report_of([written(data[: len(data) // 2], tmp_path)])
    assert report["verdict"] == "damaged"
    assert report["missing"]["block_list"]
    assert report["missing"]["devices_known"] is False
    text = "\n".join(validate_text_lines(report))
    assert "all devices that would follow" in text
    for pages in report["missing"]["ram"]:
        assert pages["read_pages"] < pages["pages"]


def test_damaged_device_is_named(tmp_path: Path) -> None:
    """The body of one device is lost with its footer; those behind it are found again."""
    main = stream()
    main.switchover()
    main.ram_end()
    timer, state = main.standard_sections()
    lost = len(main.unfinished()) + len(timer) - len(framing.section_footer(0))
    main.add(timer + state)
    data = bytearray(main.finish())
    data[lost - 30 : lost + 5] = b"\xff" * 35
    report = report_of([written(bytes(data), tmp_path)])
    assert report["verdict"] == "damaged"
    assert report["missing"]["ram"] == []
    assert report["missing"]["devices"] == [{"name": "timer", "instance_id": 0}]
    assert vmdesc.GLOBALSTATE_DEVICE["name"] not in json.dumps(report["missing"])


def test_findings_of_one_rule_are_bounded(tmp_path: Path) -> None:
    names = [f"x-{number}" for number in range(MAX_FINDINGS_OF_A_RULE + 7)]
    data = ended(stream(subsections=[framing.capabilities(names)]))
    report = report_of([written(data, tmp_path)])
    (rule,) = report["rules"]
    assert rule["count"] == len(names)
    assert rule["findings_left_out"] == 7
    assert len(report["findings"]) == MAX_FINDINGS_OF_A_RULE
    assert "QM006: 7 findings more" in "\n".join(validate_text_lines(report))


@pytest.mark.parametrize("compressed", [False, True])
def test_pages_of_channels_count_for_what_is_missing(
    compressed: bool, capture_files: CaptureFiles, tmp_path: Path
) -> None:
    """Most packets of a channel are cut off: other pages came, over the channels."""
    files = capture_files("qemu-10.0-multifd-none")
    cut = [tmp_path / path.name for path in files]
    for path, copy in zip(files, cut, strict=True):
        data = path.read_bytes()
        data = data[: len(data) // 4] if path is files[-1] else data
        copy.write_bytes(gzip.compress(data, mtime=0) if compressed else data)
    report = report_of(cut)
    assert report["verdict"] == "damaged"
    (ram,) = [pages for pages in report["missing"]["ram"] if pages["block"] == "pc.ram"]
    assert 0 < ram["read_pages"] < ram["pages"]
