"""The document and its text, for every fixture."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.reports import NOT_WHOLE, report_of, text_of
from tests.conftest import CaptureFiles
from tests.corpus import FIXTURES
from tests.documents import read_document, require_reasons, validator_of


@pytest.fixture(scope="session")
def reports() -> dict[str, dict[str, Any]]:
    return {}


@pytest.fixture
def report(
    each_name: str,
    capture_files: CaptureFiles,
    reports: dict[str, dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> dict[str, Any]:
    """Give the document about a fixture, whose files are named from their folder."""
    paths = capture_files(each_name)
    monkeypatch.chdir(paths[0].parent)
    if each_name not in reports:
        reports[each_name] = report_of([Path(path.name) for path in paths])
    return reports[each_name]


def test_json_follows_the_schema(report: dict[str, Any]) -> None:
    read_document(json.dumps(report), "inspect")


def test_schema_refuses_what_is_not_documented(capture_files: CaptureFiles) -> None:
    good = report_of(capture_files("qemu-10.0-ordinary"))
    for path, value in ((("new",), 1), (("stream", "machine"), 7), (("schema",), "qmig.inspect/2")):
        bad = json.loads(json.dumps(good))
        place = bad
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        assert not validator_of("inspect").is_valid(bad), path


def test_each_null_has_its_reason_and_each_reason_its_null(report: dict[str, Any]) -> None:
    require_reasons(report)


def test_text_fits_100_columns_and_is_harmless(report: dict[str, Any]) -> None:
    for line in text_of(report):
        assert len(line) <= 100, line
        assert line.isprintable(), repr(line)
        assert line == line.rstrip()


def test_rows_of_the_main_stream_cover_all_its_bytes(
    each_name: str, report: dict[str, Any]
) -> None:
    stream = report["stream"]
    assert stream is not None
    if each_name in NOT_WHOLE or report["resumed"]:
        assert report["errors"] or stream["not_read"]
        return
    lengths = [8, 1, *(row["length"] for row in report["sections"])]
    lengths += [row["length"] for row in stream["commands"]]
    for part in ("configuration", "vmdescription", "behind_end"):
        lengths.append(stream[part]["length"] if stream[part] else 0)
    main = next(file for file in report["files"] if file["role"] == "main")
    assert sum(lengths) == main["data_length"]


def test_errors_and_fixtures_that_are_not_whole_agree(
    each_name: str, report: dict[str, Any]
) -> None:
    assert bool(report["errors"]) == (each_name in NOT_WHOLE)


def test_requirements_hold_what_the_manifest_set(each_name: str, report: dict[str, Any]) -> None:
    """Each capability that the loading QEMU needs and the source had is asked for."""
    fixture = FIXTURES[each_name]
    asked = {
        ask["name"]: ask["value"]
        for ask in report["to_load"]["requirements"]
        if ask["kind"] in ("capability", "parameter")
    }
    needed_at_the_destination = {
        "multifd",
        "x-multifd",
        "mapped-ram",
        "x-ignore-shared",
        "postcopy-ram",
        "dirty-bitmaps",
        "validate-uuid",
        "x-colo",
    }
    on = {name for name, value in fixture.capabilities.items() if value}
    expected = on & needed_at_the_destination
    if "mapped-ram" in on:  # its channels write into the one file, and leave no trace
        expected -= {"multifd"}
    if report["stream"]["uuid"] is None:
        expected -= {"validate-uuid"}
    assert expected <= set(asked)
    if "multifd" in expected:
        assert asked["multifd-channels"] == len(report["channels"])
        compression = fixture.parameters.get("multifd-compression", "none")
        assert asked.get("multifd-compression", "none") == compression


@pytest.mark.parametrize("part", ["sections", "ram", "channels"])
def test_a_choice_leaves_out_the_rest(part: str, capture_files: CaptureFiles) -> None:
    whole = report_of(capture_files("qemu-10.0-multifd-zstd"))
    chosen = report_of(capture_files("qemu-10.0-multifd-zstd"), [part])
    assert chosen[part] == whole[part]
    left_out = {"sections", "ram", "channels", "stream", "to_load", "remarks"} - {part}
    assert all(chosen[name] is None for name in left_out)


def test_whole_channels_are_told_apart(capture_files: CaptureFiles) -> None:
    main, *channels = capture_files("qemu-10.0-multifd-stopped")
    ids = {row["file"]: row["channel_id"] for row in report_of([main, *channels])["channels"]}
    by_id = sorted(channels, key=lambda path: ids[str(path)])
    cases: list[tuple[list[Path], str]] = [
        ([main], "multifd channels are missing"),
        ([main, by_id[0], by_id[1], by_id[3]], "channel 2 is missing"),
        ([main, *by_id[:3]], "a channel with a higher id is missing"),
        (by_id, "the main stream is missing"),
        ([main, *by_id, by_id[1]], "the channel id 1 comes 2 times"),
    ]
    for paths, expected in cases:
        said = [remark["text"] for remark in report_of(paths)["remarks"]]
        assert any(expected in text for text in said), (expected, said)
    assert report_of([main, *channels])["remarks"] == []
