"""`qmig save` in a process of its own: what it writes, says and refuses."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import qmig as library
from qmig.__main__ import main
from qmig.cli.values import size, with_defaults
from tests.cli.conftest import ROOT, Run
from tests.cli.test_command import on_terminal
from tests.conftest import CaptureFiles
from tests.documents import read_document
from tests.migrate.saved import ram_by_qmig

SMALL = ["--size", "2M", "--dirty-rate", "0"]
XML = "<domain type='qemu'><name>guest</name></domain>"


@pytest.fixture
def ordinary(capture_files: CaptureFiles) -> Path:
    return capture_files("qemu-10.0-ordinary")[0]


@pytest.fixture
def mapped(capture_files: CaptureFiles) -> Path:
    return capture_files("qemu-10.0-mapped-plain")[0]


# -- what it writes -------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["--fixed-ram", "--mapped-ram"])
def test_mapped_ram_is_the_same_to_the_byte(
    option: str, mapped: Path, qmig: Run, tmp_path: Path
) -> None:
    result = qmig(["save", mapped, option, tmp_path / "out", "--channels", "2"])
    assert (result.code, result.err) == (0, "")
    assert (tmp_path / "out").read_bytes() == mapped.read_bytes()
    assert result.out.startswith(f"wrote {tmp_path / 'out'}")
    assert re.search(r"^  transferred +\S", result.out, re.MULTILINE)


def test_nothing_given_saves_the_synthetic_guest(qmig: Run, tmp_path: Path) -> None:
    arguments = ["save", "--size", "4M", "--seed", "7", "--fixed-ram", tmp_path / "out"]
    result = qmig(arguments)
    assert result.code == 0
    assert "synthetic guest is saved, seed 7" in result.err
    assert "RAM alone" in result.err
    with library.open_capture(tmp_path / "out") as capture:
        assert [block.name for block in capture.blocks] == ["pc.ram"]
        assert capture.ram["pc.ram"].used_length == 4 << 20
    shown = qmig(["inspect", tmp_path / "out"])
    assert shown.code == 0
    assert "mapped-ram since 9.0" in shown.out


def test_machine_type_of_ram_alone(qmig: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = qmig(["save", *SMALL, "--machine", "pc-i440fx-10.0", "--fixed-ram", out])
    assert result.code == 0
    assert "send-configuration" not in result.err
    with library.open_capture(out) as capture:
        assert capture.stream.configuration is not None
        assert capture.stream.configuration.machine == "pc-i440fx-10.0"
        assert capture.stream.configuration.capabilities == ("mapped-ram",)


def test_seed_and_shares_determine_the_synthetic_guest(qmig: Run, tmp_path: Path) -> None:
    def make(name: str, *options: str) -> dict[str, Any]:
        out = tmp_path / name
        result = qmig(["save", *SMALL, *options, "--stream", out, "--json"])
        assert result.code == 0, result.err
        found = read_document(result.out, "save")
        found["sha"] = ram_by_qmig([out])
        return found

    one, two, other = make("a", "--seed", "5"), make("b", "--seed", "5"), make("c", "--seed", "6")
    assert one["sha"] == two["sha"] != other["sha"]
    assert one["source"]["seed"] == 5
    zero = make("d", "--zero-share", "1")
    assert (zero["counters"]["normal"], zero["counters"]["duplicate"]) == (0, 512)
    none = make("e", "--zero-share", "0", "--constant-share", "0.5")
    assert (none["counters"]["normal"], none["counters"]["duplicate"]) == (512, 0)


def test_multifd_set(ordinary: Path, qmig: Run, tmp_path: Path) -> None:
    out = tmp_path / "set"
    options = ["--channels", "3", "--generation", "7.2", "--compression", "zlib", "--json"]
    result = qmig(["save", ordinary, "--multifd", out, *options])
    assert result.code == 0, result.err
    written = [out, *(tmp_path / f"set.ch{channel}" for channel in range(3))]
    assert ram_by_qmig(written) == ram_by_qmig([ordinary])
    output = read_document(result.out, "save")["output"]
    assert output["generation"] == "7.0 to 8.0"
    assert output["compression"] == "zlib"
    assert output["channels"] == 3
    assert output["files"] == [{"path": str(p), "size": p.stat().st_size} for p in written]
    back = tmp_path / "back"
    assert qmig(["save", *reversed(written), "--stream", back]).code == 0
    assert ram_by_qmig([back]) == ram_by_qmig([ordinary])


def test_set_has_two_channels_by_default(qmig: Run, tmp_path: Path) -> None:
    assert qmig(["save", *SMALL, "--multifd", tmp_path / "set"]).code == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["set", "set.ch0", "set.ch1"]


def test_libvirt_image_takes_xml_and_cookie_of_the_source(
    capture_files: CaptureFiles, qmig: Run, tmp_path: Path
) -> None:
    (image,) = capture_files("libvirt-12-zstd")
    sparse, raw = tmp_path / "sparse", tmp_path / "raw"
    assert qmig(["save", image, "--fixed-ram", sparse, "--libvirt"]).code == 0
    assert qmig(["save", sparse, "--libvirt", "raw", "--stream", raw]).code == 0
    found = []
    for path in (image, sparse, raw):
        with library.open_capture(path) as capture:
            assert capture.main is not None
            assert capture.main.libvirt is not None
            inside = capture.main.libvirt
            found.append((inside.xml, inside.cookie, inside.header.was_running))
            formats = inside.format_name
        assert formats == {image: "zstd", sparse: "sparse", raw: "raw"}[path]
    assert found[0] == found[1] == found[2]
    (original,) = capture_files("libvirt-12-raw")
    again = tmp_path / "again"
    assert qmig(["save", original, "--stream", again, "--libvirt"]).code == 0
    assert again.read_bytes() == original.read_bytes()


def test_libvirt_image_from_files(ordinary: Path, qmig: Run, tmp_path: Path) -> None:
    xml, cookie, out = tmp_path / "x.xml", tmp_path / "cookie", tmp_path / "out"
    xml.write_text(XML)
    cookie.write_text("<qemusave/>")
    options = ["--libvirt", "gzip", "--libvirt-xml", xml, "--libvirt-cookie", cookie]
    assert qmig(["save", ordinary, "--stream", out, *options]).code == 0
    with library.open_capture(out) as capture:
        assert capture.main is not None
        assert capture.main.libvirt is not None
        assert capture.main.libvirt.xml == XML.encode()
        assert capture.main.libvirt.cookie == b"<qemusave/>"
    assert ram_by_qmig([out]) == ram_by_qmig([ordinary])


def test_dump_and_devices(ordinary: Path, qmig: Run, tmp_path: Path) -> None:
    dump, out = tmp_path / "dump=1", tmp_path / "out"
    dump.write_bytes(bytes(range(256)) * 16384)
    result = qmig(
        ["save", "--devices-from", ordinary, "--ram", f"pc.ram={dump}", "--fixed-ram", out]
    )
    assert result.code == 0, result.err
    assert "'pc.bios'" in result.err, "says where other blocks come from"
    with library.open_capture(out) as capture:
        assert capture.ram["pc.ram"].read(0, 4 << 20) == dump.read_bytes()
        assert len(capture.stream.sections.rows) > 20


def test_dumps_alone_say_that_they_are_ram_alone(qmig: Run, tmp_path: Path) -> None:
    one, two, out = tmp_path / "one", tmp_path / "two", tmp_path / "out"
    one.write_bytes(bytes(8192) + b"x" * 8192)
    two.write_bytes(b"y" * 4096)
    result = qmig(
        ["save", "--ram", f"pc.ram={one}", "--ram", f"rom={two}", "--stream", out, "--json"]
    )
    assert result.code == 0
    found = read_document(result.out, "save")
    assert found["source"]["kind"] == "dumps"
    assert found["source"]["dumps"] == {"pc.ram": str(one), "rom": str(two)}
    assert any("RAM alone" in remark for remark in found["remarks"])
    assert "RAM alone" in result.err
    with library.open_capture(out) as capture:
        assert capture.ram["pc.ram"].read(0, 16384) == one.read_bytes()
        assert capture.ram["rom"].read(0, 4096) == two.read_bytes()


def test_xbzrle_and_convergence_of_a_running_guest(qmig: Run, tmp_path: Path) -> None:
    options = ["--dirty-rate", "400M", "--max-bandwidth", "4M", "--max-rounds", "6", "--xbzrle"]
    options += ["2M", "--downtime-limit", "0", "--auto-converge", "--workload", "uniform"]
    result = qmig(["save", "--size", "4M", *options, "--stream", tmp_path / "out", "--json"])
    assert result.code == 0, result.err
    counters = read_document(result.out, "save")["counters"]
    assert counters["dirty-sync-count"] == 6
    assert counters["throttle-percentage"] >= 20
    assert counters["xbzrle-pages"] + counters["xbzrle-cache-miss"] > 0
    assert ram_by_qmig([tmp_path / "out"])


# -- standard input and output --------------------------------------------------------------------


def piped(arguments: list[str | Path], stdin: bytes = b"") -> tuple[int, bytes, str]:
    done = subprocess.run(
        [sys.executable, "-m", "qmig", *map(str, arguments)],
        cwd=ROOT,
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr.decode()


def test_standard_output_has_the_stream_alone(ordinary: Path, qmig: Run) -> None:
    code, out, err = piped(["save", ordinary, "--stream", "-"])
    assert code == 0
    assert out == ordinary.read_bytes()
    assert "wrote standard output" in err
    shown = subprocess.run(
        [sys.executable, "-m", "qmig", "inspect", "--json", "-"],
        cwd=ROOT,
        input=out,
        capture_output=True,
        check=True,
    )
    assert json.loads(shown.stdout)["errors"] == []


def test_json_goes_where_the_stream_does_not(ordinary: Path) -> None:
    code, out, err = piped(["save", ordinary, "--stream", "-", "--json"])
    assert code == 0
    assert out == ordinary.read_bytes()
    (file,) = read_document(err, "save")["output"]["files"]
    assert (file["path"], file["size"]) == ("-", None)


def test_standard_input_is_kept_for_reading(mapped: Path, tmp_path: Path) -> None:
    code, _, err = piped(["save", "-", "--fixed-ram", tmp_path / "out"], mapped.read_bytes())
    assert (code, err) == (0, "")
    assert (tmp_path / "out").read_bytes() == mapped.read_bytes()


def test_reader_that_goes_away(ordinary: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "qmig", "save", str(ordinary), "--stream", "-"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.read(10)
    process.stdout.close()
    assert process.wait(timeout=60) == 141
    assert process.stderr.read() == b""
    process.stderr.close()


# -- what it refuses ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["SOURCE"], "choose one output"),
        (["SOURCE", "--stream", "OUT", "--fixed-ram", "OUT2"], "choose one output"),
        (["SOURCE", "--fixed-ram", "OUT", "--channels", "0"], "1 to 255"),
        (["SOURCE", "--fixed-ram", "OUT", "--channels", "1000"], "1 to 255"),
        (["SOURCE", "--stream", "OUT", "--channels", "2"], "one channel"),
        (["SOURCE", "--fixed-ram", "-"], "only the ordinary stream"),
        (["SOURCE", "--fixed-ram", "PIPE"], "only the ordinary stream"),
        (["SOURCE", "--multifd", "PIPE"], "only the ordinary stream"),
        (["SOURCE", "--stream", "OUT", "--direct-io"], "--fixed-ram alone"),
        (["SOURCE", "--fixed-ram", "OUT", "--xbzrle"], "ordinary stream alone"),
        (["SOURCE", "--multifd", "OUT", "--compress"], "ordinary stream alone"),
        (["SOURCE", "--stream", "OUT", "--compression", "zstd"], "--multifd alone"),
        (["SOURCE", "--multifd", "OUT", "--compression", "lz4"], "none, zlib, zstd"),
        (["SOURCE", "--multifd", "OUT", "--generation", "new"], "not a QEMU release"),
        (["SOURCE", "--multifd", "OUT", "--generation", "2.9"], "came with 3.0"),
        (["SOURCE", "--stream", "OUT", "--generation", "7.2"], "--multifd alone"),
        (
            ["SOURCE", "--multifd", "OUT", "--generation", "4.2", "--compression", "zlib"],
            "came with 5.0",
        ),
        (["SOURCE", "--stream", "OUT", "--flush-after-each-section"], "--multifd alone"),
        (["SOURCE", "--stream", "OUT", "--xbzrle", "100"], "not one page"),
        (["SOURCE", "--multifd", "OUT", "--libvirt"], "no multifd set"),
        (["SOURCE", "--stream", "OUT", "--libvirt", "sparse"], "sparse format holds mapped-ram"),
        (["SOURCE", "--fixed-ram", "OUT", "--libvirt", "zstd"], "sparse format holds mapped-ram"),
        (["SOURCE", "--fixed-ram", "OUT", "--libvirt"], "give --libvirt-xml"),
        (["SOURCE", "--stream", "OUT", "--libvirt-xml", "DUMP"], "for --libvirt alone"),
        (["SOURCE", "--stream", "OUT", "--seed", "1"], "synthetic guest"),
        (["SOURCE", "--stream", "OUT", "--auto-converge"], "synthetic guest"),
        (["SOURCE", "--stream", "OUT", "--devices-from", "SOURCE"], "devices of its own"),
        (["--stream", "OUT", "--devices-from", "SOURCE"], "add --ram"),
        (["--stream", "OUT", "--offset", "4096"], "there is none"),
        (["--stream", "OUT", "--ram", "pc.ram=DUMP", "--offset", "0"], "raw dumps alone"),
        (["SOURCE", "--stream", "OUT", "--machine", "pc"], "a machine type of its own"),
        (["--stream", "OUT", "--machine", ""], "1 to 255"),
        (["--stream", "OUT", "--ram", "pc.ram"], "NAME=FILE"),
        (["--stream", "OUT", "--ram", "a=DUMP", "--ram", "a=DUMP"], "given twice"),
        (["--stream", "OUT", "--ram", "pc.ram=DUMP"], "5000 bytes is no multiple of the page"),
        (["--stream", "OUT", "--ram", "ram=DUMP", "--devices-from", "SOURCE"], "'pc.ram'"),
        (["--stream", "OUT", "--ram", "pc.ram=DUMP", "--devices-from", "SOURCE"], "multiple"),
        (["--stream", "OUT", "--size", "5000"], "no multiple of the page"),
        (["--stream", "OUT", "--size", "0"], "0 bytes"),
        (["--stream", "OUT", "--size", "big"], "no size"),
        (["--stream", "OUT", "--zero-share", "2"], "from 0 to 1"),
        (["--stream", "OUT", "--zero-share", "0.7", "--random-share", "0.7"], "1.4 together"),
        (["--stream", "OUT", "--workload", "wild"], "hot and uniform"),
        (["--stream", "OUT", "--max-bandwidth", "0"], "ever be written"),
        (["--stream", "OUT", "--max-rounds", "0"], "first round"),
        (["SOURCE", "--stream", "SOURCE"], "one of the files to read"),
        (["SOURCE", "--stream", "THERE"], "--force replaces it"),
        (["SOURCE", "--stream", "FOLDER"], "a folder"),
    ],
)
def test_wrong_usage(
    arguments: list[str],
    says: str,
    ordinary: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    names = {
        "SOURCE": str(ordinary),
        "DUMP": str(tmp_path / "dump"),
        "OUT2": str(tmp_path / "out2"),
        "OUT": str(tmp_path / "out"),
        "PIPE": str(tmp_path / "pipe"),
        "THERE": str(tmp_path / "there"),
        "FOLDER": str(tmp_path),
    }
    (tmp_path / "dump").write_bytes(bytes(5000))
    (tmp_path / "there").write_text("mine")
    os.mkfifo(tmp_path / "pipe")
    pattern = re.compile("|".join(names))
    given = [pattern.sub(lambda m: names[m[0]], argument) for argument in arguments]
    monkeypatch.setattr(sys, "argv", ["qmig", "save", *given])
    code = main()
    out, err = capfd.readouterr()
    assert code == 2, err
    assert says in " ".join(err.split()), err
    assert out == ""
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dump", "pipe", "there"]
    assert (tmp_path / "there").read_text() == "mine"


@pytest.mark.parametrize("out", ["missing/out", "/proc/self/out", "/dev/null/out"])
def test_folder_that_cannot_be_written_to(
    out: str, ordinary: Path, qmig: Run, tmp_path: Path
) -> None:
    result = qmig(["save", ordinary, "--fixed-ram", tmp_path / out])
    assert result.code == 3
    (line,) = result.err.splitlines()
    assert out in line


def test_output_is_looked_at_before_the_source(qmig: Run, tmp_path: Path) -> None:
    result = qmig(["save", tmp_path / "no such source", "--stream", tmp_path / "no" / "out"])
    assert result.code == 3
    assert "no such source" not in result.err


def test_sources_that_cannot_be_read(qmig: Run, ordinary: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (tmp_path / "text").write_text("hello")
    (tmp_path / "cut").write_bytes(ordinary.read_bytes()[:400_000])
    for name, code, says in (
        ("missing", 3, "No such file"),
        ("text", 3, "text"),
        ("cut", 1, "found end of data"),
    ):
        result = qmig(["save", tmp_path / name, "--stream", out])
        assert (result.code, result.out) == (code, ""), name
        (line,) = result.err.splitlines()
        assert says in line
        assert not out.exists()
    missing = qmig(["save", "--ram", f"pc.ram={tmp_path / 'none'}", "--stream", out])
    assert missing.code == 3
    assert "No such file" in missing.err


def test_force_replaces_even_the_source(mapped: Path, qmig: Run, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.write_bytes(mapped.read_bytes())
    expected = ram_by_qmig([mapped])
    assert qmig(["save", copy, "--stream", copy]).code == 2
    assert qmig(["save", copy, "--stream", copy, "--force"]).code == 0
    assert copy.stat().st_size < mapped.stat().st_size
    assert ram_by_qmig([copy]) == expected
    assert qmig(["save", copy, "--fixed-ram", copy, "--force"]).code == 0
    assert copy.read_bytes() == mapped.read_bytes()


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_leave_nothing(signum: signal.Signals, code: int, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_text("mine")
    options = ["--force", "--channels", "4", "--size", "64M", "--max-bandwidth", "1M"]
    process = subprocess.Popen(
        [sys.executable, "-m", "qmig", "save", *options, "--fixed-ram", str(out)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert "synthetic" in process.stderr.readline(), "it has begun"
    time.sleep(0.3)
    process.send_signal(signum)
    begun = time.monotonic()
    printed, said = process.communicate(timeout=30)
    assert time.monotonic() - begun < 5
    assert process.returncode == code
    assert printed == ""
    assert said.splitlines()[-1] == f"qmig: stopped by {signum.name}"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert out.read_text() == "mine"


# -- terminals ------------------------------------------------------------------------------------


def test_progress_has_round_and_rate(tmp_path: Path) -> None:
    options = ["--size", "32M", "--dirty-rate", "0", "--max-bandwidth", "16M"]
    shown = on_terminal(["save", *options, "--stream", tmp_path / "a"])
    assert "round 1" in shown
    assert "MiB/s" in shown
    quiet = on_terminal(["save", *options, "--stream", tmp_path / "b", "--quiet"])
    assert "round 1" not in quiet


def test_terminal_gets_no_stream(ordinary: Path) -> None:
    parent, child = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "qmig", "save", str(ordinary), "--stream", "-"],
        cwd=ROOT,
        stdout=child,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(child)
    os.close(parent)
    assert done.returncode == 2
    assert "is a terminal" in done.stderr


# -- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("0", 0),
        ("4096", 4096),
        ("0x1000", 4096),
        ("1k", 1024),
        ("1K", 1024),
        ("64M", 64 << 20),
        ("1.5G", 3 << 29),
        ("0.25k", 256),
        ("2T", 2 << 40),
        ("1E", 1 << 60),
        ("12b", 12),
    ],
)
def test_sizes(text: str, length: int) -> None:
    assert size(text) == length


@pytest.mark.parametrize(
    ("given", "filled"),
    [
        (["--xbzrle", "--json"], ["--xbzrle=64M", "--json"]),
        (["--xbzrle", "8M"], ["--xbzrle", "8M"]),
        (["--xbzrle"], ["--xbzrle=64M"]),
        (["--libvirt", "vm.sav"], ["--libvirt=fitting", "vm.sav"]),
        (["--libvirt", "zstd", "vm.sav"], ["--libvirt", "zstd", "vm.sav"]),
        (["--libvirt=raw"], ["--libvirt=raw"]),
        (["--", "--xbzrle"], ["--", "--xbzrle"]),
    ],
)
def test_values_that_may_be_left_out(given: list[str], filled: list[str]) -> None:
    from qmig.cli.save_options import OPTIONAL_VALUES

    assert with_defaults(given, OPTIONAL_VALUES) == filled


def test_main_stream_without_its_channels_is_not_saved_as_a_guest_of_zeros(
    qmig: Run, capture_files: CaptureFiles, tmp_path: Path
) -> None:
    main, *channels = capture_files("qemu-10.0-multifd-none")
    out = tmp_path / "out"
    result = qmig(["save", main, "--stream", out])
    assert result.code == 3
    assert result.err.startswith(f"qmig: {main}: its RAM went over multifd channels")
    assert not list(tmp_path.iterdir())
    assert qmig(["save", main, *channels, "--stream", out]).code == 0


@pytest.mark.parametrize("release", ["5.2", "7.2", "10.0", "11.1"])
def test_a_set_without_one_of_its_channels_is_not_saved(
    release: str, qmig: Run, capture_files: CaptureFiles, tmp_path: Path
) -> None:
    *rest, _ = capture_files(f"qemu-{release}-multifd-none")
    done = qmig(["save", *rest, "--fixed-ram", tmp_path / "out", "--quiet"])
    assert done.code == 3
    assert "packets of its multifd channels, or more, are in none of the files" in done.err
    assert list(tmp_path.iterdir()) == []
    assert qmig(["validate", *rest]).code == 1
