"""`--json-lines`: the lines of each file and layer tile it, from byte 0 to its last byte."""

import gzip
import json
import shutil
import tracemalloc
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

import qmig
from qmig.capture.container import Container
from qmig.render.jsonlines import SCHEMA, RecordLines
from tests.cli.reports import NOT_WHOLE, report_of
from tests.conftest import CaptureFiles
from tests.corpus import FIXTURES

Line = dict[str, Any]


def no_progress(container: Container, offset: int) -> None:
    assert offset > 0, container.path


def lines_of(
    paths: list[Path], offset: int | None = None
) -> tuple[list[Line], list[qmig.StreamError]]:
    with qmig.open_capture(*paths, offset=offset) as capture:
        lines = RecordLines(capture, no_progress)
        return [json.loads(text) for text in lines], lines.errors


def tiles(lines: list[Line]) -> dict[tuple[str, int], list[Line]]:
    """Return the lines of each file and layer, sorted by offset."""
    found: dict[tuple[str, int], list[Line]] = defaultdict(list)
    for line in lines:
        if "offset" in line:
            found[line["file"], line["layer"]].append(line)
    for group in found.values():
        group.sort(key=lambda line: int(line["offset"]))
    return found


def assert_tiled(group: list[Line], length: int) -> None:
    position = 0
    for line in group:
        assert line["offset"] == position, line
        assert line["length"] > 0, line
        position += line["length"]
    assert position == length


def test_lines_tile_every_file_and_layer(each_name: str, capture_files: CaptureFiles) -> None:
    paths = capture_files(each_name)
    lines, errors = lines_of(paths)
    assert lines[0]["schema"] == SCHEMA
    found = tiles(lines)
    for path in paths:
        assert_tiled(found[str(path), 0], path.stat().st_size)
    inner = {key: group for key, group in found.items() if key[1] > 0}
    report = report_of(paths)
    compressed = {f["path"]: f for f in report["files"] if f["compressed"]}
    assert {name for name, _ in inner} == set(compressed)
    for (name, _), group in inner.items():
        assert_tiled(group, compressed[name]["data_length"])
    assert bool(errors) == (each_name in NOT_WHOLE)
    assert [line["error"]["offset"] for line in lines if "error" in line] == [
        error.offset for error in errors
    ]
    # Tiling alone could be had by one record of everything.
    names = {line.get("record") for line in lines}
    assert "not read" not in names or each_name in NOT_WHOLE or report["resumed"]
    assert "section header" in names
    assert names & {"RAM pages", "mapped-ram pages", "multifd payload", "not read"}


def test_pages_of_the_lines_are_those_of_the_report(capture_files: CaptureFiles) -> None:
    for name in ("qemu-10.0-live", "qemu-10.0-avr-xbzrle", "qemu-7.2-compress"):
        paths = capture_files(name)
        lines, _ = lines_of(paths)
        counts: dict[tuple[str, str], int] = defaultdict(int)
        wire: dict[str, int] = defaultdict(int)
        for line in lines:
            if line.get("record") == "RAM pages":
                counts[line["block"], line["kind"]] += line["pages"]
                wire[line["block"]] += line["length"]
        for block in report_of(paths)["ram"]["blocks"]:
            assert wire[block["name"]] == block["wire_length"]
            for kind, pages in block["pages_sent"].items():
                assert counts[block["name"], kind] == pages


def test_a_run_says_where_each_page_is(capture_files: CaptureFiles) -> None:
    (path,) = capture_files("qemu-10.0-ordinary")
    lines, _ = lines_of([path])
    data = path.read_bytes()
    with qmig.open_capture(path) as capture:
        checked = 0
        for line in lines:
            if line.get("kind") != "plain":
                continue
            last = line["pages"] - 1
            at = line["data_offset"] + last * line["stride"]
            page = capture.ram[line["block"]].read((line["first_page"] + last) * 4096, 4096)
            assert data[at : at + line["data_length"]] == page
            checked += 1
    assert checked > 5


def test_packets_carry_their_pages(capture_files: CaptureFiles) -> None:
    paths = capture_files("qemu-10.0-multifd-zstd")
    lines, _ = lines_of(paths)
    for channel in report_of(paths)["channels"]:
        own = [line for line in lines if line.get("file") == channel["file"] and "packet" in line]
        offsets = [line for line in own if line["record"] == "multifd packet offsets"]
        assert [line["packet"] for line in offsets] == list(range(channel["packets"]))
        for key, total in (("normal", "normal_pages"), ("zero", "zero_pages")):
            assert sum(r["pages"] for ln in offsets for r in ln[key]) == channel[total]


def test_a_stream_behind_other_bytes_is_tiled_from_byte_0(capture_files: CaptureFiles) -> None:
    (path,) = capture_files("qemu-10.0-mapped-offset")
    for options in ({}, {"offset": 0x3000}):
        lines, errors = lines_of([path], **options)
        assert not errors
        assert_tiled(tiles(lines)[str(path), 0], path.stat().st_size)


def test_a_libvirt_image_inside_gzip_is_tiled_in_both_layers(
    capture_files: CaptureFiles, tmp_path: Path
) -> None:
    (image,) = capture_files("libvirt-12-raw")
    packed = tmp_path / "image.gz"
    with image.open("rb") as plain, gzip.open(packed, "wb") as out:
        shutil.copyfileobj(plain, out)
    lines, errors = lines_of([packed])
    assert not errors
    found = tiles(lines)
    assert_tiled(found[str(packed), 0], packed.stat().st_size)
    assert_tiled(found[str(packed), 1], image.stat().st_size)


def test_a_cut_file_is_tiled_and_ends_with_the_error(
    capture_files: CaptureFiles, tmp_path: Path
) -> None:
    (path,) = capture_files("qemu-10.0-ordinary")
    cut = tmp_path / "cut"
    for length in (9, 100, 5_000, 400_000, 740_000):
        cut.write_bytes(path.read_bytes()[:length])
        lines, errors = lines_of([cut])
        assert_tiled(tiles(lines)[str(cut), 0], length)
        assert len(errors) == 1
        assert lines[-1]["error"]["text"] == str(errors[0])


@pytest.mark.parametrize("name", ["qemu-10.0-live", "qemu-10.0-multifd-none"])
def test_memory_does_not_grow_with_the_lines(name: str, capture_files: CaptureFiles) -> None:
    paths = capture_files(name)
    lines_of(paths)  # what is imported and compiled once does not count
    with qmig.open_capture(*paths) as capture:
        tracemalloc.start()
        count = sum(1 for _ in RecordLines(capture, no_progress))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert count > 50
    assert peak < 8 << 20


def test_every_fixture_is_tried() -> None:
    assert set(NOT_WHOLE) < set(FIXTURES)
