"""`qmig devices` as a user runs it: the table, a selection, JSON by its schema, exit codes."""

import json
import re
from pathlib import Path

import pytest

import qmig
from qmig.cli.devices_request import DevicesOptions, files_and_names, plain_request
from qmig.devices import open_devices
from qmig.devices.live_facts import LIVE_FACTS
from qmig.render.report_devices import Chosen, json_pieces, text_of_bytes
from qmig.render.text_devices import device_lines, dump_lines, number_text, table_lines
from tests.cli.conftest import run_qmig
from tests.conftest import CaptureFiles
from tests.corpus import each_fixture
from tests.devices.described import device, field, stream
from tests.documents import require_golden, require_reasons, validator_of

GOLDEN = Path(__file__).with_name("golden")
_DIGITS = re.compile(r"[0-9]+")
PC = "qemu-10.0-devices-pc"
SHOWN = {
    "qemu-10.0-devices-pc": ("mc146818rtc", "0000:00:03.0/virtio-net/0/virtio.vq", "i8259"),
    "qemu-10.0-dirty-bitmap": ("globalstate", "apic/0"),
    "qemu-10.0-s390x-stopped": ("qemu-s390-flic", "cpu/0/env.regs[1]"),
    "qemu-5.2-devices-q35": ("0000:00:01.0/pcie-root-port",),
    "qemu-11.1-no-vmdesc": ("timer",),
}


@pytest.fixture(scope="module")
def seen() -> set[str]:
    return set()


@each_fixture
def test_json_follows_the_schema_and_text_its_width(
    name: str, capture_files: CaptureFiles, seen: set[str]
) -> None:
    with qmig.open_capture(*capture_files(name)) as capture:
        devices = open_devices(capture)
        chosen = [Chosen(one) for one in devices]
        text = "".join(json_pieces(capture, devices, chosen, live=LIVE_FACTS))
        lines = [*table_lines(capture, devices), *device_lines(chosen, offsets=True)]
    assert text.isascii()
    document = json.loads(text)
    for one in [{**document, "devices": []}, *document["devices"]]:
        # Devices that differ in numbers alone are looked at once, for this takes its time.
        alike = _DIGITS.sub("0", json.dumps(one))
        if alike not in seen:
            seen.add(alike)
            validator_of("devices").validate(
                one if "schema" in one else {**document, "devices": [one]}
            )
    require_reasons(document)
    assert all(len(line) <= 100 for line in lines)
    assert not any(line != line.rstrip() for line in lines)


@pytest.mark.parametrize("name", SHOWN)
def test_text_is_the_expected_one(
    name: str, capture_files: CaptureFiles, update_golden: bool
) -> None:
    with qmig.open_capture(*capture_files(name)) as capture:
        devices = open_devices(capture)
        chosen = [
            Chosen(one, None if node is one.tree else [node])
            for selection in SHOWN[name]
            for one, node in devices.select(selection)
        ]
        assert len(chosen) >= len(SHOWN[name])
        lines = [*table_lines(capture, devices, offsets=True), "", *device_lines(chosen)]
    text = "\n".join(lines) + "\n"
    require_golden(text, GOLDEN / f"{name}.txt", update=update_golden)


def test_golden_files_are_those_of_the_tests() -> None:
    assert sorted(path.stem for path in GOLDEN.iterdir()) == sorted(SHOWN)


def test_a_field_is_shown_by_its_path(capture_files: CaptureFiles) -> None:
    (path,) = capture_files(PC)
    done = run_qmig(["devices", path, "cpu/0/env.regs[0]"])
    assert (done.code, done.err) == (0, "")
    heading, line = done.out.splitlines()
    assert heading == "cpu/0"
    assert line.split() == ["env.regs[0]", "uint64", "1601536", "(0x187000)"]


def test_several_names_and_a_name_by_option(capture_files: CaptureFiles) -> None:
    (path,) = capture_files(PC)
    done = run_qmig(["devices", path, "cpu/1/env.eip", "--select", "globalstate", "--json"])
    document = json.loads(done.out)
    assert [one["name"] for one in document["devices"]] == ["cpu", "globalstate"]
    assert document["devices"][0]["fields"][0]["value"] == 0xFFF0
    assert document["devices"][1]["facts"]["run_state"] == "paused"
    assert document["live"] is None


def test_what_fields_mean_is_shown_by_its_name(capture_files: CaptureFiles) -> None:
    (path,) = capture_files(PC)
    assert run_qmig(["devices", path, "cpu/0/rip"]) == (0, "cpu/0\n  rip  983464 (0xf01a8)\n", "")
    every = run_qmig(["devices", path, "cpu/rip"]).out.splitlines()
    assert [line for line in every if not line.startswith(" ")] == ["cpu/0", "", "cpu/1"]
    below = run_qmig(["devices", "--json", path, "0000:00:03.0/virtio-net/queues[1]"])
    document = json.loads(below.out)
    validator_of("devices").validate(document)
    require_reasons(document)
    (found,) = document["devices"]
    assert found["facts"]["queues[1].num"] == 1024
    assert all(name.startswith("queues[1].") for name in found["facts"])
    assert found["fields"] == []
    assert run_qmig(["devices", path, "cpu/0/segments[c]"]).code == 2


def test_live_sections_have_names_too(capture_files: CaptureFiles) -> None:
    (path,) = capture_files("qemu-10.0-dirty-bitmap")
    alone = run_qmig(["devices", path, "dirty-bitmap"])
    assert (alone.code, alone.err) == (0, "")
    assert alone.out.startswith("Dirty bitmaps\n  node ")
    assert "Fields" not in alone.out
    both = run_qmig(["devices", path, "dirty-bitmap", "globalstate"])
    assert both.out.startswith("globalstate/0\n")
    assert both.out.endswith("\n\n" + alone.out)
    document = json.loads(run_qmig(["devices", "--json", path, "dirty-bitmap"]).out)
    validator_of("devices").validate(document)
    require_reasons(document)
    assert document["devices"] == []
    assert [one["name"] for one in document["live"]["dirty_bitmaps"]] == ["bitmap1", "bitmap0"]
    assert run_qmig(["devices", path, "spapr/htab"]).code == 2


def test_sizes_put_the_largest_first(capture_files: CaptureFiles) -> None:
    (path,) = capture_files(PC)
    rows = run_qmig(["devices", "--sizes", path]).out.splitlines()[3:]
    sizes = [int(word.replace(",", "")) for row in rows for word in [row.split()[3]]]
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) == 43


def test_a_pipe_is_read(capture_files: CaptureFiles) -> None:
    (path,) = capture_files(PC)
    done = run_qmig(["devices", "-", "globalstate"], stdin=path.read_bytes())
    assert done.code == 0
    assert "the guest was paused" in done.out


def test_a_name_that_nothing_has_is_wrong_usage(capture_files: CaptureFiles) -> None:
    (path,) = capture_files(PC)
    done = run_qmig(["devices", path, "cpu/0/env.regs[99]"])
    assert done.code == 2
    assert done.err == (
        "qmig: 'cpu/0/env.regs[99]' is no file, and no device or field has this name; "
        "without a name all devices are listed\n"
    )


def test_a_description_that_lies_is_told_with_its_byte(tmp_path: Path) -> None:
    path = tmp_path / "lies"
    path.write_bytes(stream(b"abc", device(field("x", "uint8", 1), field("y", "uint32", 4))))
    done = run_qmig(["devices", path, "dev"])
    assert done.code == 1
    assert "section dev/0: y: expected 4 bytes, found 2 bytes to the end of the section" in done.err
    assert "not decoded" in done.out
    whole = run_qmig(["devices", "--json", path])
    assert whole.code == 1
    assert len(json.loads(whole.out)["errors"]) == 1


def test_a_stream_cut_short_shows_what_is_whole(
    capture_files: CaptureFiles, tmp_path: Path
) -> None:
    (path,) = capture_files(PC)
    data = path.read_bytes()
    cut = tmp_path / "cut"
    cut.write_bytes(data[: data.index(b"mc146818rtc") - 6])
    done = run_qmig(["devices", cut])
    assert done.code == 1
    assert "apic" in done.out
    assert "globalstate" not in done.out


def test_what_exists_is_a_file_and_all_else_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ch1.bin").touch()
    arguments = ["missing", "ch1.bin", "cpu/0", "-", "a" * 300, "a\0b"]
    assert files_and_names(arguments) == (
        ["missing", "ch1.bin", "-"],
        ["cpu/0", "a" * 300, "a\0b"],
    )


def test_a_plain_command_line_needs_no_parser() -> None:
    assert plain_request(["a", "--json", "b"]) == DevicesOptions(["a", "b"], json=True)
    both = plain_request(["-", "--sizes", "--offsets", "--quiet"])
    assert both == DevicesOptions(["-"], sizes=True, offsets=True, quiet=True)
    assert plain_request([]) is None
    assert plain_request(["--json"]) is None
    assert plain_request(["a", "--select", "b"]) is None
    assert plain_request(["a", "--help"]) is None


def test_bytes_numbers_and_dumps_as_text() -> None:
    assert text_of_bytes(b"running\0\0") == "running"
    assert text_of_bytes(b"a") is None
    assert text_of_bytes(b"a\x01b") is None
    assert number_text(-4096) == "-4096 (-0x1000)"
    assert number_text(9) == "9"
    dump = list(dump_lines(bytes(48) + b"end", ""))
    assert dump[1] == "*"
    assert dump[2].endswith("end")
    assert dump[2].startswith("000030  656e64")
