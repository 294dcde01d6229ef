"""One byte or field of a real capture is changed: the rule, the place and QEMU's word for it.

What is predicted here is what a real 10.0 printed (`tests/interop/test_mutated_fixtures.py` asks
one again).
"""

from pathlib import Path

import pytest

from qmig.capture.stream import StreamWalk
from qmig.checks.rule import Severity
from qmig.checks.validate import validate
from tests.conftest import CaptureFiles
from tests.interop.mutated_fixtures import MUTATIONS, Mutation, mutated, to
from tests.sources import forward_source

ORDINARY = "qemu-10.0-ordinary"
MULTIFD = "qemu-10.0-multifd-none"


@pytest.mark.parametrize("name", [name for name, what in MUTATIONS.items() if what.rule])
def test_rule_is_found_with_its_message(
    name: str, capture_files: CaptureFiles, tmp_path: Path
) -> None:
    mutation = MUTATIONS[name]
    paths = mutated(mutation, capture_files(mutation.fixture), tmp_path)
    findings = [
        finding
        for finding in validate(*paths).findings
        if finding.rule.severity is not Severity.NOTE
    ]
    told = [str(finding) for finding in findings]
    assert mutation.rule in [finding.rule.id for finding in findings], told
    if mutation.says:
        assert mutation.says in [finding.message for finding in findings], told


@pytest.mark.parametrize("mark", [b"\0", b"\x7f", b"\xfe", b"\x01", b"\x02", b"\x08"])
def test_damaged_first_footer_costs_nothing_else_in_a_pipe_either(
    mark: bytes, capture_files: CaptureFiles
) -> None:
    data = bytearray(capture_files(ORDINARY)[0].read_bytes())
    at = data.index(b"\x7e\0\0\0\x01")
    data[at : at + 1] = mark
    walk = StreamWalk(forward_source(bytes(data), 1000), 0, resync=True)
    for _ in walk.records():
        pass
    (error,) = walk.errors
    assert error.offset == at
    assert walk.ram_ended
    assert all(row.complete for row in walk.sections.rows[1:])


def test_capture_cut_in_a_device_ends_early(capture_files: CaptureFiles, tmp_path: Path) -> None:
    data = capture_files(ORDINARY)[0].read_bytes()
    head = data.index(b"\x0bkvm-tpr-opt") - 5
    path = tmp_path / "cut"
    path.write_bytes(data[: head + 40])
    (finding,) = validate(path).findings
    assert finding.rule.id == "QM019"
    assert "kvm-tpr-opt" in finding.record


def test_reserved_bytes_of_a_packet_are_noted(capture_files: CaptureFiles, tmp_path: Path) -> None:
    mutation = Mutation(MULTIFD, "multifd packet header", "unused64", to(1), 3, 1)
    paths = mutated(mutation, capture_files(mutation.fixture), tmp_path)
    (finding,) = validate(*paths).findings
    assert finding.rule.id == "QM304"
    assert finding.field == "unused64"
    assert paths[1].read_bytes()[finding.offset + finding.length - 1] == 1


@pytest.mark.parametrize("damaged", [b"\x02", b"\x08", b"\x7e", b"\xff"])
def test_damaged_eof_is_told_once(
    damaged: bytes, capture_files: CaptureFiles, tmp_path: Path
) -> None:
    mutation = Mutation(ORDINARY, "EOF", "type", lambda _: damaged)
    (path,) = mutated(mutation, capture_files(ORDINARY), tmp_path)
    verdict = validate(path)
    (finding,) = verdict.findings
    assert finding.rule.severity is Severity.ERROR
    assert [place.length for place in verdict.not_read] == [1]


def test_mutation_changes_bytes(capture_files: CaptureFiles, tmp_path: Path) -> None:
    mutation: Mutation = MUTATIONS["first footer's mark"]
    (path,) = mutated(mutation, capture_files(mutation.fixture), tmp_path)
    before, after = capture_files(mutation.fixture)[0].read_bytes(), path.read_bytes()
    assert len(before) == len(after)
    assert sum(x != y for x, y in zip(before, after, strict=True)) == 1
