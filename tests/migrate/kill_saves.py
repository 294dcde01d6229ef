"""Save a guest again and again, each time in a process that is ended at a random moment.

`python -m tests.migrate.kill_saves SIGNAL SEED TURNS FOLDER` prints one JSON object. Each save is a
fork of this process, so that it begins at once; the moments are spread over the time that the same
save takes when nothing ends it, and somewhat beyond. Every second save replaces a file.
"""

import hashlib
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

import qmig
from qmig.limits import MIB
from qmig.migrate.interrupt import STOP_SIGNALS, StopOnSignals, StopRequested
from qmig.migrate.skeleton import Skeleton
from qmig.migrate.synthetic import SyntheticGuest
from qmig.migrate.synthetic_content import Shares
from qmig.saving import OutputFormat, SaveOptions, save_guest

GUEST_LEN: Final = 24 * MIB
GUESTS: Final = 3
UNDISTURBED: Final = 7
BEYOND: Final = 1.15
SHARES: Final = Shares(zero=0.3, constant=0.2, random=0.5)


def save(guest: SyntheticGuest, out: Path, tell: Callable[[], object] = lambda: None) -> int:
    """Save, and return the exit code of a command that does.

    Args:
        guest: the guest.
        out: the file.
        tell: called when signals are minded, and when the save is done.
    """
    for signum in STOP_SIGNALS:  # what comes after the end changes nothing
        signal.signal(signum, lambda signum, frame: None)
    options = SaveOptions(OutputFormat.MAPPED_RAM, channels=2, force=out.exists())
    try:
        with StopOnSignals():
            tell()
            save_guest(guest, Skeleton(), out, options)
            tell()
    except StopRequested as stop:
        return 128 + stop.signum
    return 0


class Saving:
    """A save in a fork that has begun."""

    def __init__(self, guest: SyntheticGuest, out: Path) -> None:
        self._told, tell = os.pipe()
        self.process = os.fork()
        if self.process == 0:
            os.close(self._told)
            sys.exit(save(guest, out, partial(os.write, tell, b"x")))
        os.close(tell)
        os.read(self._told, 1)
        self.begun = time.monotonic()

    def done_seconds(self) -> float:
        """Wait until it is done; return how long it took."""
        os.read(self._told, 1)
        return time.monotonic() - self.begun

    def end(self) -> int:
        """Wait until the process ends; return its exit code, or the signal times -1."""
        _, status = os.waitpid(self.process, 0)
        os.close(self._told)
        return os.waitstatus_to_exitcode(status)


def usual_seconds(guest: SyntheticGuest, out: Path) -> float:
    """Return how long a save takes that nothing ends."""
    found = []
    for _ in range(UNDISTURBED):
        saving = Saving(guest, out)
        found.append(saving.done_seconds())
        if code := saving.end():
            raise RuntimeError(f"a save that nothing disturbs ends with {code}")
    out.unlink()
    return sorted(found)[UNDISTURBED // 2]


def sha256_of(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


def is_whole(path: Path, guest: SyntheticGuest) -> bool:
    """Tell whether a file reads as complete and holds the guest."""
    with qmig.open_capture(path) as capture:
        if capture.errors:
            return False
        ram = capture.ram["pc.ram"].read(0, GUEST_LEN)
    return {"pc.ram": hashlib.sha256(ram).hexdigest()} == guest.digest()


class Campaign:
    """The turns, and what came of them."""

    def __init__(self, signum: signal.Signals, seed: int, folder: Path) -> None:
        self.signum = signum
        self.out = folder / "vm.img"
        self.outcomes: Counter[str] = Counter()
        self.ends: Counter[int] = Counter()  # exit codes; less than 0: by that signal
        self.left: Counter[str] = Counter()
        self.slowest_end = 0.0
        self._guests = [
            SyntheticGuest(seed * GUESTS + number, GUEST_LEN, shares=SHARES)
            for number in range(GUESTS)
        ]
        self._moments = np.random.default_rng(seed)
        self.usual = usual_seconds(self._guests[0], self.out)

    def turn(self, number: int) -> None:
        """Save once, end it, and look at what is there."""
        guest = self._guests[number % GUESTS]
        if number % 2 == 0:
            self.out.unlink(missing_ok=True)
        elif not self.out.exists():
            save(self._guests[(number + 1) % GUESTS], self.out)
        before = sha256_of(self.out)
        moment = self._moments.uniform(0, self.usual * BEYOND)
        saving = Saving(guest, self.out)
        time.sleep(moment)
        os.kill(saving.process, self.signum)
        started = time.monotonic()
        self.ends[saving.end()] += 1
        self.slowest_end = max(self.slowest_end, time.monotonic() - started)
        self._judge(before, guest)

    def _judge(self, before: str | None, guest: SyntheticGuest) -> None:
        after = sha256_of(self.out)
        if after == before:
            self.outcomes["nothing there, as before" if before is None else "old"] += 1
        elif after is not None and is_whole(self.out, guest):
            self.outcomes["new"] += 1
        else:
            self.outcomes["WRONG"] += 1
        for path in self.out.parent.iterdir():
            if path != self.out:
                self.left["whole" if is_whole(path, guest) else "unfinished"] += 1
                path.unlink()


def main() -> int:
    """Run a campaign."""
    signum, seed, turns, folder = sys.argv[1:]
    campaign = Campaign(signal.Signals[signum], int(seed), Path(folder))
    for number in range(int(turns)):
        campaign.turn(number)
    found = {
        "outcomes": campaign.outcomes,
        "ends": campaign.ends,
        "left": campaign.left,
        "usual": campaign.usual,
        "slowest_end": campaign.slowest_end,
    }
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
