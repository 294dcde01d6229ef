"""Saves that are ended from outside at any moment."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.migrate.save_for_ever import CHANNELS, channel_paths, read_generation

ROOT = Path(__file__).resolve().parents[2]
KILLS = 12  # of each kind
STOPS = 6
END_SECONDS = 30.0  # an fsync under way ends when the storage has done it


@contextmanager
def saving(kind: str, out: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.migrate.save_for_ever", kind, str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def all_paths(kind: str, out: Path) -> list[Path]:
    return [out, *channel_paths(out)] if kind == "set" else [out]


@pytest.mark.parametrize("kind", ["nameless", "named", "set"])
def test_killed_at_any_moment(tmp_path: Path, kind: str) -> None:
    moments = np.random.default_rng(list(kind.encode()))
    out = tmp_path / "vm.img"
    seen = set()
    for _ in range(KILLS):
        with saving(kind, out) as process:
            time.sleep(moments.uniform(0, 0.15))
            process.kill()
            process.wait()
        found = {path.name for path in tmp_path.iterdir()}
        wanted = {path.name for path in all_paths(kind, out)}
        left = found - wanted
        if out.exists():
            generations = {read_generation(path) for path in all_paths(kind, out)}
            assert len(generations) == 1, "files of different saves stand together"
            assert None not in generations, "a file is there that is not complete"
            seen |= generations
        else:
            assert kind == "set", "a file was there before"
            assert len(left) >= 1, "and the old one is kept beside it"
        assert all(name.startswith(".vm.img") and ".qmig-" in name for name in left)
        if kind == "nameless":
            # Between its two names a complete file has one of its own for a moment.
            assert {read_generation(tmp_path / name) is not None for name in left} <= {True}
        for name in left:
            (tmp_path / name).unlink()
    assert len(seen) > KILLS // 2, "the kills came while files were written"


@pytest.mark.parametrize("kind", ["nameless", "named", "set"])
def test_stopped_by_a_signal(tmp_path: Path, kind: str) -> None:
    moments = np.random.default_rng(list(kind.encode()))
    out = tmp_path / "vm.img"
    for turn in range(STOPS):
        signum = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)[turn % 3]
        with saving(kind, out) as process:
            time.sleep(moments.uniform(0, 0.1))
            begun = time.monotonic()
            process.send_signal(signum)
            assert process.wait(END_SECONDS) == 128 + signum
            assert time.monotonic() - begun < END_SECONDS
        generations = {read_generation(path) for path in all_paths(kind, out)}
        assert len(generations) == 1
        assert None not in generations
        assert len(list(tmp_path.iterdir())) == (1 + CHANNELS if kind == "set" else 1)


BLOCKED = """
import os, sys, threading
from qmig.migrate.interrupt import StopOnSignals, StopRequested
from qmig.migrate.output import AtomicFile
from qmig.migrate.stream_output import StreamOutput

out, pipes = sys.argv[1], sys.argv[2:]
try:
    with StopOnSignals(), AtomicFile(out, anonymous=False) as file:
        def block(path):
            with StreamOutput(path) as stream:
                while True:
                    stream.append(bytes(1 << 20))
        threads = [threading.Thread(target=block, args=(path,), daemon=True) for path in pipes]
        for thread in threads:
            thread.start()
        file.append(b"begun")
        print("begun", flush=True)
        for thread in threads:
            thread.join()
        file.commit()
except StopRequested as stop:
    print(stop, flush=True)
    sys.exit(128 + stop.signum)
"""


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_blocked_channels_do_not_block_the_exit(tmp_path: Path, signum: signal.Signals) -> None:
    pipes = [tmp_path / f"pipe-{index}" for index in range(4)]
    readers = []
    for pipe in pipes:
        os.mkfifo(pipe)
        readers.append(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK))  # and never read
    out = tmp_path / "vm.img"
    command = [sys.executable, "-c", BLOCKED, str(out), *map(str, pipes)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        time.sleep(0.2)  # the pipes fill
        assert process.poll() is None
        process.send_signal(signum)
        assert process.wait(END_SECONDS) == 128 + signum
        assert process.stdout.read() == f"stopped by {signum.name}\n"
    finally:
        process.kill()
        process.communicate()
        for reader in readers:
            os.close(reader)
    assert sorted(path.name for path in tmp_path.iterdir()) == [pipe.name for pipe in pipes]
