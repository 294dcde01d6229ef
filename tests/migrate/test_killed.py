"""Saves that are ended at any moment, or that find no room: OUT is as it was, or complete."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from qmig.errors import OutputError
from qmig.limits import MIB
from qmig.migrate.migrator import MigrationOptions
from qmig.migrate.skeleton import Skeleton
from qmig.migrate.synthetic import SyntheticGuest
from qmig.migrate.synthetic_content import Shares
from qmig.saving import OutputFormat, SaveOptions, channel_path, save_guest
from qmig.wire.multifd_flags import MultifdCompression
from tests.migrate.test_output_faults import mounted, needs_root

ROOT: Final = Path(__file__).resolve().parents[2]
KILLS: Final = 100  # of each of two processes
STOPS: Final = 30
QUICK_S: Final = 5.0  # of the clock; a second of it is nothing on a machine that does much else
OLD: Final = b"what was there"


def campaigns(tmp_path: Path, turns: int, *signals: signal.Signals) -> list[dict[str, Any]]:
    """Run two campaigns at a time; return what they found."""
    running = []
    for seed, signum in enumerate(signals):
        folder = tmp_path / f"folder-{seed}"
        folder.mkdir()
        words = [signum.name, str(seed), str(turns), str(folder)]
        command = [sys.executable, "-m", "tests.migrate.kill_saves", *words]
        running.append(
            subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
            )
        )
    found = []
    try:
        for process in running:
            printed, errors = process.communicate()
            assert process.returncode == 0, errors
            assert errors == ""
            found.append(json.loads(printed))
    finally:
        for process in running:
            process.kill()
            process.communicate()
    return found


def total(found: list[dict[str, Any]], what: str) -> dict[str, int]:
    words = {word for one in found for word in one[what]}
    return {word: sum(one[what].get(word, 0) for one in found) for word in words}


@pytest.mark.timeout(300)
def test_killed_at_any_moment(tmp_path: Path) -> None:
    found = campaigns(tmp_path, KILLS, signal.SIGKILL, signal.SIGKILL)
    outcomes = total(found, "outcomes")
    assert sum(outcomes.values()) == 2 * KILLS
    assert set(outcomes) == {"nothing there, as before", "old", "new"}
    # The moments hit all of the save: neither all before its end nor all behind it.
    assert min(outcomes.values()) >= KILLS // 20, outcomes
    # Only between its two names a file that is complete can be left, and none that is not.
    assert set(total(found, "left")) <= {"whole"}


@pytest.mark.timeout(300)
def test_stopped_at_any_moment(tmp_path: Path) -> None:
    found = campaigns(tmp_path, STOPS, signal.SIGTERM, signal.SIGINT)
    for one, signum in zip(found, (signal.SIGTERM, signal.SIGINT), strict=True):
        assert set(one["outcomes"]) == {"nothing there, as before", "old", "new"}
        assert one["left"] == {}
        # -signum: it came when the interpreter was about to end, and all was done.
        assert set(one["ends"]) <= {str(128 + signum), "0", str(-signum)}
        assert one["ends"][str(128 + signum)] >= STOPS // 10
        assert one["ends"].get("0", 0) + one["ends"].get(str(-signum), 0) <= one["outcomes"]["new"]
        assert one["slowest_end"] < QUICK_S


BLOCKED = """
import os, sys, threading
from qmig.migrate.interrupt import StopRequested
from qmig.migrate.skeleton import Skeleton
from qmig.migrate.synthetic import SyntheticGuest
from qmig.migrate.synthetic_content import Shares
from qmig.saving import OutputFormat, SaveOptions, save_guest

out, form, channels = sys.argv[1], sys.argv[2], int(sys.argv[3])
never, _ = os.pipe()
write = os.pwrite
blocked = set()

def slow(fd, view, offset):
    thread = threading.current_thread()
    if thread is not threading.main_thread():
        blocked.add(thread.name)
        if len(blocked) == channels:
            print("blocked", flush=True)
        os.read(never, 1)
    return write(fd, view, offset)

os.pwrite = slow
guest = SyntheticGuest(1, 256 << 20, shares=Shares(zero=0, constant=0, random=1))
options = SaveOptions(OutputFormat(form), channels=channels, force=True)
try:
    save_guest(guest, Skeleton(), out, options)
except StopRequested as stop:
    print(stop, flush=True)
    sys.exit(128 + stop.signum)
"""


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("form", [OutputFormat.MAPPED_RAM, OutputFormat.MULTIFD])
def test_sixteen_blocked_channels_do_not_block_the_exit(
    tmp_path: Path, signum: signal.Signals, form: OutputFormat
) -> None:
    """The output hangs in every channel, as a network file system does whose server is gone."""
    out, channels = tmp_path / "vm.img", 16
    out.write_bytes(OLD)
    command = [sys.executable, "-c", BLOCKED, str(out), form.value, str(channels)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "blocked\n"
        begun = time.monotonic()
        process.send_signal(signum)
        printed, errors = process.communicate(timeout=30)
        assert time.monotonic() - begun < QUICK_S
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 128 + signum
    assert (printed, errors) == (f"stopped by {signum.name}\n", "")
    assert [path.name for path in tmp_path.iterdir()] == ["vm.img"]
    assert out.read_bytes() == OLD


COLLECTED = """
import gc
import numpy as np
from qmig.migrate.descriptor import byte_view

def fail(data):
    view = byte_view(data)
    rest = view[3:]
    raise ValueError

gc.disable()
page = np.arange(4096, dtype=np.uint8).reshape(2, 2048)
for data in (page, memoryview(page), page.tobytes(), page[:, ::2], page.view(">u8"), page[:0]):
    assert byte_view(data).tobytes() == bytes(memoryview(data).tobytes())
    for _ in range(50):
        try:
            fail(data)
        except ValueError as error:
            error.itself = error  # a cycle with all that its traceback holds
    gc.collect()
print("collected")
"""


def test_views_of_a_failed_write_can_be_collected() -> None:
    """The memory views that a traceback holds: in a cycle they crashed the interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", COLLECTED], capture_output=True, text=True, cwd=ROOT
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "collected\n", "")


def small_guest() -> SyntheticGuest:
    return SyntheticGuest(5, 8 * MIB, shares=Shares(zero=0.1, constant=0.1, random=0.8))


FORMS: Final = {
    "mapped-ram": SaveOptions(OutputFormat.MAPPED_RAM, force=True),
    "mapped-ram, 3 channels": SaveOptions(OutputFormat.MAPPED_RAM, channels=3, force=True),
    "mapped-ram, direct I/O": SaveOptions(OutputFormat.MAPPED_RAM, direct_io=True, force=True),
    "stream": SaveOptions(OutputFormat.STREAM, force=True),
    "stream, compressed": SaveOptions(OutputFormat.STREAM, compress=True, force=True),
    "multifd": SaveOptions(OutputFormat.MULTIFD, channels=3, force=True),
    "multifd, zstd": SaveOptions(
        OutputFormat.MULTIFD,
        channels=2,
        compression=MultifdCompression.ZSTD,
        migration=MigrationOptions(static=True),
        force=True,
    ),
}
each_form = pytest.mark.parametrize("name", FORMS)


def put_old(out: Path, options: SaveOptions) -> list[Path]:
    """Put files where the output is to go."""
    paths = [out]
    if options.format is OutputFormat.MULTIFD:
        paths += [Path(channel_path(out, index)) for index in range(options.channels)]
    for path in paths:
        path.write_bytes(OLD + path.name.encode())
    return paths


def require_old(folder: Path, paths: list[Path]) -> None:
    assert sorted(folder.iterdir()) == sorted(paths)
    for path in paths:
        assert path.read_bytes() == OLD + path.name.encode()


@needs_root
@each_form
def test_full_storage(tmp_path: Path, name: str) -> None:
    with mounted(tmp_path / "small", "size=3m") as folder:
        out = folder / "vm.img"
        paths = put_old(out, FORMS[name])
        with pytest.raises(OutputError, match="No space left on device") as caught:
            save_guest(small_guest(), Skeleton(), out, FORMS[name])
        line = str(caught.value)
        assert "\n" not in line
        assert line.startswith(str(folder / "vm.img"))
        require_old(folder, paths)
        # A file that is given up is closed by the last thread that writes to it, soon.
        deadline = time.monotonic() + 10
        while (free := free_len(folder)) <= 2.9 * MIB and time.monotonic() < deadline:
            time.sleep(0.01)
        assert free > 2.9 * MIB, "nothing is kept open"


def free_len(folder: Path) -> int:
    room = os.statvfs(folder)
    return room.f_bavail * room.f_frsize


@pytest.fixture
def short_files() -> Iterator[None]:
    """Let no file of this process be longer than 2 MiB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MIB, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@each_form
def test_files_that_may_not_be_so_long(tmp_path: Path, name: str, short_files: None) -> None:
    out = tmp_path / "vm.img"
    paths = put_old(out, FORMS[name])
    with pytest.raises(OutputError, match=r"File too large; .*ulimit -f") as caught:
        save_guest(small_guest(), Skeleton(), out, FORMS[name])
    assert "\n" not in str(caught.value)
    require_old(tmp_path, paths)
