"""A real QEMU 10.0 is made to load broken streams: what it refuses, qmig calls wrong, in its words.

The table in docs/interop.md is made by these tests.
"""

from __future__ import annotations

import signal
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest

from fixtures.recorder.errors import RecordError
from fixtures.recorder.machine import Machine
from fixtures.recorder.replay import sending
from qmig.checks.rule import Outcome, Severity
from qmig.checks.validate import validate
from tests.builders import framing
from tests.builders.real_destination import ARGUMENTS
from tests.interop.broken_streams import CHANNELS, RAM_ID, Capture, all_cases
from tests.interop.tables import Table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from qmig.checks.finding import Finding
    from tests.conftest import FindQemu

pytestmark = [pytest.mark.qemu, pytest.mark.timeout(60)]

RELEASE: Final = "10.0"
# A destination that loads or refuses takes a tenth of a second.
HANG_SECONDS: Final = 4.0
# What QEMU prints behind every failure, whatever the reason was.
GENERIC: Final = ("load of migration failed", "error while loading state")

# What the C library prints, with the line of the source of one build.
ASSERTION: Final = "Assertion `"

# What a rule may say of what is seen: which of two threads is first is not to be told from a file.
_SAID_OF: Final = {
    Outcome.REFUSES: {Outcome.REFUSES, Outcome.REFUSES_OR_HANGS},
    Outcome.HANGS: {Outcome.HANGS, Outcome.REFUSES_OR_HANGS},
    Outcome.CRASHES: {Outcome.CRASHES},
}
CASES: Final = dict(all_cases())
# Cases in which qmig does not say what QEMU does, and why that is right.
DISAGREEMENTS: Final[dict[str, str]] = {
    "control character in the machine's name": "it prints the name of its own machine, which a "
    "stream does not tell",
    "COMPRESS_PAGE": "legal for QEMU up to 9.0, and a stream does not say whom it is for; "
    "`qmig inspect` names the releases under what is needed to load it",
}

TABLE: Final = Table(
    name="broken streams",
    columns=("what is wrong", f"QEMU {RELEASE}", "it says", "qmig validate"),
    rows=tuple(CASES),
)


@dataclass(frozen=True)
class Answer:
    """What a destination did.

    Attributes:
        outcome: loads, refuses, hangs, crashes.
        lines: what it printed, without its own name.
    """

    outcome: Outcome
    lines: tuple[str, ...]

    @property
    def own_lines(self) -> list[str]:
        """The lines that tell the reason."""
        return [
            line for line in self.lines if not line.startswith(GENERIC) and ASSERTION not in line
        ]


def answer_of(qemu: Path, capture: Capture, files: list[Path], directory: Path) -> Answer:
    """Make a destination load a capture."""
    with destination(qemu, capture, directory) as machine:
        outcome = Outcome.REFUSES
        try:
            if capture.channels or capture.by_socket:
                with sending(machine, files):
                    machine.wait_migrated(seconds=HANG_SECONDS)
            else:
                machine.execute("migrate-incoming", {"uri": f"file:{files[0].absolute()}"})
                machine.wait_migrated(seconds=HANG_SECONDS)
            outcome = Outcome.LOADS
        except RecordError:
            status = machine.exit_status(seconds=1.0)
            if status is None:
                outcome = Outcome.HANGS
            elif status in (-signal.SIGFPE, -signal.SIGSEGV, -signal.SIGABRT):
                outcome = Outcome.CRASHES
        printed = machine.stderr.splitlines()
    return Answer(outcome, tuple(line.split(": ", 1)[-1] for line in printed if line))


def reason_of_channels(
    qemu: Path, capture: Capture, files: list[Path], directory: Path
) -> str | None:
    """Return why a destination fails over the channels alone; None if it does not.

    Its main thread waits for the channels where the main stream says so, and if one of them has
    failed by then, for ever: nobody is told why. While it does not wait yet, because the main
    stream is held back behind the block list, `query-migrate` tells.
    """
    footer = framing.section_footer(RAM_ID)
    start_len = capture.main.index(footer) + len(footer)
    told: list[str] = []

    def is_told() -> bool:
        told[:] = [desc] if (desc := machine.migration().get("error-desc")) else []
        return bool(told)

    with destination(qemu, capture, directory) as machine:
        with suppress(RecordError), sending(machine, files, main_len=start_len):
            machine.wait_for(is_told, "an error", HANG_SECONDS)
        return told[0] if told else None


@contextmanager
def destination(qemu: Path, capture: Capture, directory: Path) -> Iterator[Machine]:
    """Start a destination that waits for a capture."""
    arguments = [*(capture.arguments or ARGUMENTS), "-S", "-incoming", "defer"]
    with Machine(
        qemu, arguments, directory, label="destination", command_seconds=HANG_SECONDS
    ) as machine:
        parameters = {"multifd-channels": CHANNELS} if capture.channels else {}
        machine.set_migration(capture.capabilities, {**parameters, **capture.parameters})
        yield machine


def write_files(capture: Capture, directory: Path) -> list[Path]:
    """Write the files of a capture, the main stream first."""
    files = []
    for number, data in enumerate((capture.main, *capture.channels)):
        files.append(directory / ("main" if number == 0 else f"channel-{number - 1}"))
        files[-1].write_bytes(data)
    return files


def errors_of(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.rule.severity is Severity.ERROR]


def disagreement(answer: Answer, findings: list[Finding]) -> str | None:
    """Tell in what qmig's word differs from what a destination did; None: in nothing."""
    errors = errors_of(findings)
    if answer.outcome is Outcome.LOADS:
        wrong = [f.rule.id for f in errors if f.rule.outcome is not Outcome.LOADS_WRONG]
        return f"it loads, and qmig has errors: {wrong}" if wrong else None
    if not errors:
        return f"it {answer.outcome}, and qmig has no error"
    told = {finding.rule.outcome for finding in errors}
    if not told & _SAID_OF[answer.outcome]:
        return f"it {answer.outcome}, and qmig says {[str(outcome) for outcome in told]}"
    said = [line for finding in errors for line in (finding.message or "").splitlines()]
    own = answer.own_lines
    if own and not any(line in said for line in own):
        return f"it says {own}, and qmig predicts {said}"
    return None


@pytest.mark.parametrize("name", CASES)
def test_qemu_and_qmig_agree(
    name: str, find_qemu: FindQemu, tmp_path: Path, update_golden: bool
) -> None:
    capture = CASES[name]()
    files = write_files(capture, tmp_path)
    answer = answer_of(find_qemu(RELEASE), capture, files, tmp_path)
    if answer.outcome is Outcome.HANGS:
        reason = reason_of_channels(find_qemu(RELEASE), capture, files, tmp_path)
        answer = Answer(Outcome.HANGS, (reason,) if reason else ())
    findings = list(validate(*files).findings)
    found = disagreement(answer, findings)
    cells = {
        TABLE.columns[1]: str(answer.outcome),
        TABLE.columns[2]: "; ".join(answer.own_lines).replace("|", "\\|"),
        TABLE.columns[3]: ", ".join(
            dict.fromkeys(f"{f.rule.id} {f.rule.severity}" for f in findings)
        ) or "nothing",
    }  # fmt: skip
    if update_golden:
        TABLE.write_row(name, cells)
    TABLE.require_row(name, cells)
    if name in DISAGREEMENTS:
        assert found is not None, "they agree now: take it out of the list"
    else:
        assert found is None, (found, [str(finding) for finding in findings], answer)
