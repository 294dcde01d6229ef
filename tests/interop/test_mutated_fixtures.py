"""Real captures with one field changed, and a real QEMU of their release: what it says, qmig says.

The table in docs/interop.md is made by these tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from fixtures.recorder.firmware.image import load_image
from fixtures.recorder.recipe import FIRMWARE_NAME
from qmig.checks.rule import Outcome
from qmig.checks.validate import validate
from tests.corpus import FIXTURES
from tests.interop.broken_streams import Capture
from tests.interop.mutated_fixtures import MUTATIONS, mutated
from tests.interop.tables import Table
from tests.interop.test_broken_streams import Answer, answer_of, disagreement, reason_of_channels

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import CaptureFiles, FindQemu

pytestmark = [pytest.mark.qemu, pytest.mark.timeout(60)]

# Where qmig does not say what QEMU does, and why that is right.
DISAGREEMENTS: Final[dict[str, str]] = {
    "id 0 of a PART": "which handler of the destination is the first without a section, a stream "
    "does not tell",
}

WITHOUT_FILES: Final = ("5.2", "7.2")

TABLE: Final = Table(
    name="changed captures",
    columns=("what is changed", "in", "QEMU", "it says", "qmig validate"),
    rows=tuple(MUTATIONS),
)


@pytest.fixture
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose name is short: the paths of UNIX sockets are."""
    directory = tmp_path_factory.mktemp("d")
    (directory / FIRMWARE_NAME).write_bytes(load_image())
    return directory


@pytest.mark.parametrize("name", MUTATIONS)
def test_qemu_and_qmig_agree(
    name: str,
    find_qemu: FindQemu,
    capture_files: CaptureFiles,
    tmp_path: Path,
    directory: Path,
    update_golden: bool,
) -> None:
    mutation = MUTATIONS[name]
    fixture = FIXTURES[mutation.fixture]
    files = mutated(mutation, capture_files(mutation.fixture), tmp_path)
    main, *channels = (file.read_bytes() for file in files)
    assert fixture.qemu is not None
    release = ".".join(fixture.qemu.split(".")[:2])
    capture = Capture(
        main,
        tuple(channels),
        fixture.capabilities,
        fixture.parameters,
        fixture.command[1:],
        by_socket="postcopy-ram" in fixture.capabilities or release in WITHOUT_FILES,
    )
    answer = answer_of(find_qemu(release), capture, files, directory)
    if answer.outcome is Outcome.HANGS:
        reason = reason_of_channels(find_qemu(release), capture, files, directory)
        answer = Answer(Outcome.HANGS, (reason,) if reason else ())
    findings = list(validate(*files).findings)
    found = disagreement(answer, findings)
    cells = {
        "in": mutation.fixture,
        "QEMU": str(answer.outcome),
        "it says": "; ".join(answer.own_lines).replace("|", "\\|"),
        "qmig validate": ", ".join(
            dict.fromkeys(f"{f.rule.id} {f.rule.severity}" for f in findings)
        )
        or "nothing",
    }
    if update_golden:
        TABLE.write_row(name, cells)
    TABLE.require_row(name, cells)
    if name in DISAGREEMENTS:
        assert found is not None, "they agree now: take it out of the list"
    else:
        assert found is None, (found, [str(finding) for finding in findings], answer)
