"""A recorded run over many broken captures: `python -m tests.fuzz.run --inputs 1000000`.

Each input goes to one entry point, in turn. What breaks the contract is written to a file named
by its hash; `--only N` repeats one input of a run. Nothing of it depends on time or machine.
"""

import argparse
import gc
import hashlib
import json
import mmap
import multiprocessing
import os
import platform
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from qmig import __version__
from tests.fuzz.contract import ENTRY_POINTS, Contract
from tests.fuzz.gapped import Files, packed
from tests.fuzz.guard import (
    MOST_MEMORY_LEN,
    HangError,
    limited_memory,
    limited_time,
    peak_memory_len,
)
from tests.fuzz.mutate import Mutator, Seed
from tests.fuzz.seeds import built_seeds, fixture_seeds

# In turn; salvage writes and syncs a file, which takes as long as most others together.
TURNS: Final = (
    "inspect", "validate", "partial_ram", "inspect --json-lines", "validate", "inspect", "devices",
    "validate", "partial_ram", "extract", "validate", "inspect --json-lines", "salvage",
    "diff", "inspect", "devices", "partial_ram", "validate", "inspect --json-lines", "extract",
)  # fmt: skip
_MOST_KEPT: Final = 3  # inputs that break the contract in the same place
_CHECKPOINT: Final = 2000
_STUCK_SECONDS: Final = 30.0  # of a processor, in code that no signal interrupts
_SLOT: Final = struct.Struct("=q")


@dataclass
class Broken:
    """An input that broke the contract.

    Attributes:
        number: of the input in its run.
        seed: name of the capture that it was made of.
        entry: the entry point.
        what: the exception, or how the process ended.
        where: the innermost lines of the project's code.
        file: where the input was written.
    """

    number: int
    seed: str
    entry: str
    what: str
    where: list[str]
    file: str


@dataclass
class Summary:
    """What a run, or a part of it, has seen.

    Attributes:
        inputs: how many there were.
        outcomes: entry point -> outcome -> how often.
        slowest_ms: processor time of the slowest input.
        slowest: number of that input.
        peak_memory_len: most bytes of a process in memory.
        grown_memory_len: the same, less what it had before its first input.
        processor_seconds: of all processes.
        broken: inputs that broke the contract, a few of each place.
        broken_count: place -> how many.
    """

    inputs: int = 0
    outcomes: dict[str, dict[str, int]] = field(default_factory=dict)
    slowest_ms: float = 0.0
    slowest: int = -1
    peak_memory_len: int = 0
    grown_memory_len: int = 0
    processor_seconds: float = 0.0
    broken: list[Broken] = field(default_factory=list)
    broken_count: dict[str, int] = field(default_factory=dict)

    def add(self, other: "Summary") -> None:
        """Take another part's in."""
        self.inputs += other.inputs
        for entry, counts in other.outcomes.items():
            for outcome, number in counts.items():
                self.note(entry, outcome, number)
        if other.slowest_ms > self.slowest_ms:
            self.slowest_ms, self.slowest = other.slowest_ms, other.slowest
        self.peak_memory_len = max(self.peak_memory_len, other.peak_memory_len)
        self.grown_memory_len = max(self.grown_memory_len, other.grown_memory_len)
        self.processor_seconds += other.processor_seconds
        for one in other.broken:
            if sum(one.where == known.where for known in self.broken) < _MOST_KEPT:
                self.broken.append(one)
        for place, number in other.broken_count.items():
            self.broken_count[place] = self.broken_count.get(place, 0) + number

    def note(self, entry: str, outcome: str, number: int = 1) -> None:
        """Count what came of inputs."""
        counts = self.outcomes.setdefault(entry, {})
        counts[outcome] = counts.get(outcome, 0) + number

    def note_broken(self, place: str) -> int:
        """Count an input that broke the contract; return how many did so in its place."""
        self.broken_count[place] = self.broken_count.get(place, 0) + 1
        return self.broken_count[place]

    @classmethod
    def of(cls, document: dict[str, Any]) -> "Summary":
        """Return what `as_document` made a document of."""
        made = cls(**document)
        made.broken = [Broken(**one) for one in document["broken"]]
        return made


class Worker:
    """Gives every `jobs`-th input to the reader, in a process of its own.

    Args:
        mutator: makes the inputs.
        folder: of this process alone.
        found: where inputs that break the contract are written.
    """

    def __init__(self, mutator: Mutator, folder: Path, found: Path) -> None:
        self._mutator = mutator
        self._contract = Contract(folder)
        self._found = found
        self._before_len = 0
        self.summary = Summary()

    def begin(self) -> None:
        """Take the memory as it is now for what there was before the first input."""
        self._before_len = peak_memory_len()

    def one(self, number: int) -> None:
        """Try one input."""
        seed, files = self._mutator.made(number)
        entry = TURNS[number % len(TURNS)]
        begun = time.process_time()
        try:
            with limited_time():
                outcome = self._contract.hold(entry, self._contract.write(files))
        except (Exception, HangError) as error:  # that there is none is the test
            outcome = self.broken(number, seed, entry, files, error)
        took = (time.process_time() - begun) * 1000
        summary = self.summary
        summary.inputs += 1
        summary.note(entry, outcome)
        if took > summary.slowest_ms:
            summary.slowest_ms, summary.slowest = round(took, 1), number

    def broken(self, number: int, seed: str, entry: str, files: Files, error: BaseException) -> str:
        """Note an input that broke the contract; return the name of what happened."""
        frames = traceback.extract_tb(error.__traceback__)
        names = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
        what = f"{type(error).__name__}: {error}"[:300]
        where = names[-4:]
        place = f"{type(error).__name__} {entry} {where[-1] if where else ''}"
        if self.summary.note_broken(place) <= _MOST_KEPT:
            path = keep(files, self._found)
            self.summary.broken.append(Broken(number, seed, entry, what, where, str(path)))
        return f"BROKEN {type(error).__name__}"

    def finished(self) -> Summary:
        """Return the summary with what is measured at the end."""
        self.summary.peak_memory_len = peak_memory_len()
        self.summary.grown_memory_len = peak_memory_len() - self._before_len
        self.summary.processor_seconds = time.process_time()
        return self.summary


def keep(files: Files, folder: Path) -> Path:
    """Write an input to a file named by its hash."""
    data = packed(files)
    path = folder / f"{hashlib.sha256(data).hexdigest()[:16]}.bin"
    path.write_bytes(data)
    return path


def all_seeds(folder: Path, *, fixtures: bool = True) -> list[Seed]:
    """Return the captures to begin with."""
    seeds = built_seeds(folder)
    return [*seeds, *fixture_seeds(folder)] if fixtures else seeds


def warm_up(mutator: Mutator, seeds: Sequence[Seed], folder: Path) -> None:
    """Import all there is to import, so that memory is measured from there."""
    contract = Contract(folder)
    for seed in seeds[:60]:
        for entry in ENTRY_POINTS:
            contract.hold(entry, contract.write(seed.files))
    mutator.made(0)


class Run:
    """The whole run: starts workers, watches them, adds up what they have seen.

    Args:
        options: of the command line.
        mutator: makes the inputs.
        folder: for all that is written.
    """

    def __init__(self, options: argparse.Namespace, mutator: Mutator, folder: Path) -> None:
        self._options = options
        self._mutator = mutator
        self._folder = folder
        self._found = Path(options.found)
        self._slots = mmap.mmap(-1, _SLOT.size * options.jobs)
        self._first: dict[int, int] = {}
        self._left_out: set[int] = set()
        self.summary = Summary()

    def run(self) -> Summary:
        """Make the run."""
        self._found.mkdir(parents=True, exist_ok=True)
        gc.collect()
        gc.freeze()
        jobs = self._options.jobs
        waiting = dict.fromkeys(range(jobs), self._options.first)
        running: dict[int, tuple[Any, float, int]] = {}
        while waiting or running:
            for job, first in list(waiting.items()):
                running[job] = self._start(job, first)
                del waiting[job]
            time.sleep(0.5)
            for job in list(running):
                again = self._look(job, *running[job])
                if again is None:
                    continue
                if again[0] is None:
                    del running[job]
                    if again[2] >= 0:
                        waiting[job] = again[2]
                else:
                    running[job] = again
        return self.summary

    def _start(self, job: int, first: int) -> tuple[Any, float, int]:
        _SLOT.pack_into(self._slots, job * _SLOT.size, -1)
        self._first[job] = first
        process = multiprocessing.get_context("fork").Process(target=self._work, args=(job, first))
        process.start()
        return process, 0.0, -1

    def _look(self, job: int, process: Any, since: float, number: int) -> Any:  # noqa: ANN401  # as `_begin`
        """Look after a worker; return its state, or how to go on where it has ended."""
        (now,) = _SLOT.unpack_from(self._slots, job * _SLOT.size)
        if not process.is_alive():
            process.join()
            path, following = self._part(job), self._first[job]
            if path.exists():
                part = json.loads(path.read_text())
                following = part.pop("next")
                self.summary.add(Summary.of(part))
                path.unlink()
            if process.exitcode == 0:
                return None, 0.0, -1
            if now < 0 or now in self._left_out:
                raise RuntimeError(f"a worker ended with {process.exitcode} outside of an input")
            self._left_out.add(now)
            self._lost(now, f"the process ended with {process.exitcode}")
            return None, 0.0, following
        used = _processor_seconds(process.pid)
        if now != number:
            return process, used, now
        if used - since > _STUCK_SECONDS:
            os.kill(process.pid, signal.SIGKILL)
        return process, since, number

    def _lost(self, number: int, what: str) -> None:
        """Note the input at which a worker ended."""
        seed, files = self._mutator.made(number)
        entry = TURNS[number % len(TURNS)]
        self.summary.inputs += 1
        self.summary.note(entry, "BROKEN process")
        self.summary.note_broken(f"{what} {entry}")
        path = str(keep(files, self._found))
        self.summary.broken.append(Broken(number, seed, entry, what, [], path))

    def _part(self, job: int) -> Path:
        return self._folder / f"part-{job}.json"

    def _work(self, job: int, first: int) -> None:
        options = self._options
        worker = Worker(self._mutator, self._folder / f"job-{job}", self._found)
        with limited_memory():
            worker.begin()
            for number in range(first + (job - first) % options.jobs, options.inputs, options.jobs):
                if number in self._left_out:
                    continue
                _SLOT.pack_into(self._slots, job * _SLOT.size, number)
                worker.one(number)
                if worker.summary.inputs % _CHECKPOINT == 0:
                    self._write(job, worker, number + options.jobs)
        self._write(job, worker, options.inputs)

    def _write(self, job: int, worker: Worker, following: int) -> None:
        path = self._part(job)
        part = path.with_suffix(".new")
        done = worker.finished()
        part.write_text(json.dumps({**asdict(done), "next": following}))
        part.replace(path)
        rate = done.inputs / max(1e-9, done.processor_seconds)
        broken = sum(done.broken_count.values())
        print(f"job {job}: {done.inputs} inputs, {rate:.0f}/s, {broken} broken", flush=True)


def _processor_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def document(
    summary: Summary, options: argparse.Namespace, seeds: int, wall: float
) -> dict[str, Any]:
    """Return the record of a run."""
    elsewhere = sum("outside of the output" in one.what for one in summary.broken)
    return {
        "run": {"inputs": options.inputs, "first": options.first, "seed": options.seed,
                "jobs": options.jobs, "captures_to_begin_with": seeds},
        "qmig": __version__,
        "python": platform.python_version(),
        "wall_seconds": round(wall, 1),
        "bounds": {"processor_seconds": 5, "memory_len": MOST_MEMORY_LEN},
        "files_written_elsewhere": elsewhere,
        **asdict(summary),
    }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Make a run, or repeat one input of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.run", description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000, help="number of the last input")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--seed", type=int, default=1, help="number of the run")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--found", default="fuzz-found", help="folder for what breaks the contract")
    parser.add_argument("--record", help="write the summary to this file")
    parser.add_argument("--only", type=int, help="repeat this one input, with its traceback")
    parser.add_argument("--built-only", action="store_true", help="leave the fixtures out")
    options = parser.parse_args(arguments)
    begun = time.monotonic()
    # Memory is the place for millions of small files, where there is such a file system.
    place = None if "TMPDIR" in os.environ or not Path("/dev/shm").is_dir() else "/dev/shm"  # noqa: S108  # see above
    with tempfile.TemporaryDirectory(prefix="qmig-fuzz-", dir=place) as name:
        folder = Path(name)
        seeds = all_seeds(folder, fixtures=not options.built_only)
        mutator = Mutator(seeds, options.seed)
        print(f"{len(seeds)} captures to begin with", flush=True)
        if options.only is not None:
            return _repeat(mutator, folder, options)
        warm_up(mutator, seeds, folder / "warm")
        summary = Run(options, mutator, folder).run()
        found = document(summary, options, len(seeds), time.monotonic() - begun)
    text = json.dumps(found, indent=1)
    print(text)
    if options.record:
        Path(options.record).write_text(f"{text}\n")
    return 1 if summary.broken_count else 0


def _repeat(mutator: Mutator, folder: Path, options: argparse.Namespace) -> int:
    seed, files = mutator.made(options.only)
    Path(options.found).mkdir(parents=True, exist_ok=True)
    entry = TURNS[options.only % len(TURNS)]
    print(f"{seed}, {entry}: {keep(files, Path(options.found))}")
    contract = Contract(folder)
    with limited_memory():
        print(contract.hold(entry, contract.write(files)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
