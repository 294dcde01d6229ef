"""Volatility's own command line: how it finds qmig, and what it says of files it cannot have."""

import subprocess
import sys
from pathlib import Path

import pytest

import qmig
from qmig.volatility.command import PLUGIN_FOLDER
from qmig.wire.framing import QemuVmSection
from tests.conftest import CaptureFiles
from tests.volatility import guest

ROOT = Path(__file__).resolve().parent.parent.parent
VOL = ("-c", "import sys; from volatility3.cli import main; sys.argv[0] = 'vol'; main()")
QMIG_VOL = ("-m", "qmig.volatility.command")
QUIET = ("-q", "--offline")
SCAN = ("banners.Banners",)


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    path = tmp_path / "vm.mig"
    path.write_bytes(guest.stream())
    return path


def found(output: str) -> list[int]:
    return [int(line.split()[0], 16) for line in output.splitlines() if line.startswith("0x")]


EXPECTED = [page * guest.SIZE for page in range(1, guest.PAGES, 2) if guest.sent(page)]


@pytest.mark.parametrize(
    "command", [(*VOL, "-p", PLUGIN_FOLDER), QMIG_VOL, (*QMIG_VOL, "-p", "nowhere")]
)
def test_vol_finds_qmig(command: tuple[str | Path, ...], capture: Path) -> None:
    done = run(*command, *QUIET, "-f", capture, *SCAN)
    assert done.returncode == 0, done.stderr
    assert found(done.stdout) == EXPECTED
    (line,) = done.stderr.strip().splitlines()
    assert line.endswith("vm.mig: 3 pages of the guest are not in the capture")


def test_it_is_by_qmig_that_they_are_found(capture: Path) -> None:
    done = run(*VOL, *QUIET, "-f", capture, *SCAN)
    assert "Offset" in done.stdout
    assert found(done.stdout) != EXPECTED


def test_processes_that_scan_at_once_share_the_capture(capture: Path) -> None:
    done = run(*QMIG_VOL, *QUIET, "--parallelism", "processes", "-f", capture, *SCAN)
    assert found(done.stdout) == EXPECTED


def test_settings_that_were_saved_are_enough(capture: Path, tmp_path: Path) -> None:
    settings = tmp_path / "settings.json"
    run(*QMIG_VOL, *QUIET, "--save-config", settings, "-f", capture, *SCAN)
    done = run(*QMIG_VOL, *QUIET, "-c", settings, *SCAN)
    assert found(done.stdout) == EXPECTED


def test_multifd_set_is_named_by_its_files(capture_files: CaptureFiles) -> None:
    main, *channels = capture_files("qemu-10.0-multifd-zstd")
    done = run(*QMIG_VOL, *QUIET, "--qmig-channels", *channels, "-f", main, *SCAN)
    assert (done.returncode, done.stderr) == (0, "")


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line in which qmig says why; Volatility says more of its own."""
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert found(done.stdout) == []
    (line,) = (line for line in done.stderr.splitlines() if "qmig.volatility" in line)
    return line


def test_set_without_its_channels_is_refused(capture_files: CaptureFiles) -> None:
    main, *channels = capture_files("qemu-10.0-multifd-zstd")
    line = refused(run(*QMIG_VOL, *QUIET, "-f", main, *SCAN))
    assert "its RAM came over multifd channels" in line
    assert line.endswith("give them with --qmig-channels")
    line = refused(run(*QMIG_VOL, *QUIET, "-f", channels[0], *SCAN))
    assert "is a multifd channel" in line


@pytest.mark.parametrize(
    ("name", "keep", "text"),
    [
        ("qemu-10.0-file", 0.5, "RAM"),
        ("qemu-10.0-mapped-plain", 0.9, "mapped-ram"),
        ("libvirt-12-zstd", 0.7, "libvirt"),
        ("libvirt-12-xz", 0.9, "xz data"),
    ],
)
def test_damaged_file_is_refused_in_one_line(
    name: str, keep: float, text: str, capture_files: CaptureFiles, tmp_path: Path
) -> None:
    (whole,) = capture_files(name)
    cut = tmp_path / "cut"
    cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * keep)])
    line = refused(run(*QMIG_VOL, *QUIET, "-f", cut, *SCAN))
    assert f"{cut}" in line
    assert text in line
    assert "expected" in line
    assert line.endswith("qmig salvage takes out what is left, and Volatility opens what it writes")


def test_unknown_layout_says_what_to_give(capture_files: CaptureFiles) -> None:
    (main,) = capture_files("qemu-10.0-dimm")
    line = refused(run(*QMIG_VOL, *QUIET, "-f", main, *SCAN))
    assert "'dimm0'" in line
    assert line.endswith("they are options of qmig extract, whose LiME files Volatility opens")


def test_what_was_salvaged_is_read(capture_files: CaptureFiles, tmp_path: Path) -> None:
    """Its devices are lost, so the user must tell how much RAM lies below 4 GiB."""
    (whole,) = capture_files("qemu-10.0-file")
    cut, rest = tmp_path / "cut", tmp_path / "rest"
    with qmig.open_capture(whole) as capture:
        ended = next(s for s in capture.stream.sections.rows if s.kind is QemuVmSection.SECTION_END)
        cut.write_bytes(whole.read_bytes()[: ended.offset + ended.length])
        below_4g = capture.ram["pc.ram"].used_length
    qmig.salvage(cut, out=rest)
    line = refused(run(*QMIG_VOL, *QUIET, "-f", rest, *SCAN))
    assert line.endswith("give it with --qmig-below-4g BYTES")
    given = ("--qmig-below-4g", hex(below_4g))
    done = run(*QMIG_VOL, *QUIET, *given, "-f", rest, *SCAN)
    assert (done.returncode, done.stderr) == (0, "")


def test_folder_for_plugins_is_printed() -> None:
    done = run(*QMIG_VOL, "--plugin-dir")
    assert done.stdout == f"{PLUGIN_FOLDER}\n"
    assert [path.name for path in PLUGIN_FOLDER.glob("[!_]*.py")] == ["qmig_captures.py"]


def test_missing_packages_are_named() -> None:
    program = (
        "import sys\nsys.modules['volatility3'] = None\n"
        "from qmig.volatility.command import main\nsys.exit(main())\n"
    )
    done = run("-c", program, "-h")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "pip install 'qmig[volatility]'" in line
    program = (
        "import runpy, sys\nsys.modules['qmig'] = None\n"
        f"runpy.run_path({str(PLUGIN_FOLDER / 'qmig_captures.py')!r})\n"
    )
    done = run("-c", program)
    assert done.returncode == 1
    assert "qmig is not installed for the Python that runs Volatility" in done.stderr
