"""Which releases can have written a stream: the one that did is among them, and few others."""

import pytest

import qmig
from qmig.capture.releases import (
    RELEASES,
    Evidence,
    between,
    describe_releases,
    possible_releases,
)
from tests.conftest import CaptureFiles
from tests.corpus import FIXTURES

WRITTEN = {name: f.qemu.rpartition(".")[0] for name, f in FIXTURES.items() if f.qemu}

# No configuration, no vmdescription, no command, no channel: any release can have written them.
SAYS_NOTHING = (
    "qemu-5.2-machine-1.0-no-vmdesc",
    "qemu-5.2-machine-i440fx-2.2",
    "qemu-5.2-machine-i440fx-2.2-live",
)


@pytest.mark.parametrize("name", WRITTEN)
def test_the_release_that_wrote_it_is_among_the_possible_ones(
    name: str, capture_files: CaptureFiles
) -> None:
    with qmig.open_capture(*capture_files(name)) as capture:
        assert WRITTEN[name] in RELEASES
        assert WRITTEN[name] in capture.releases
        assert (set(capture.releases) == set(RELEASES)) == (name in SAYS_NOTHING)
        for piece in capture.evidence:
            assert WRITTEN[name] in piece.releases, piece.what


def test_the_answer_is_narrow_for_most(capture_files: CaptureFiles) -> None:
    counts = []
    for name in WRITTEN:
        with qmig.open_capture(*capture_files(name)) as capture:
            counts.append(len(capture.releases))
    counts.sort()
    assert counts[len(counts) // 2] <= 5
    assert counts[0] == 1


# What each set of channels alone tells, without its main stream.
CHANNELS_ALONE = {
    "qemu-3.1-multifd": "3.0 to 3.1",
    "qemu-4.2-multifd": "4.0 to 4.2, or 8.0 to 8.2",
    "qemu-5.2-multifd-none": "5.0 to 8.0",
    "qemu-7.2-multifd-zstd": "5.0 to 8.0",
    "qemu-9.2-multifd": "9.2 or newer",
    "qemu-10.0-multifd-none": "9.2 or newer",
}


@pytest.mark.parametrize("name", CHANNELS_ALONE)
def test_channels_alone_tell_their_generation(name: str, capture_files: CaptureFiles) -> None:
    files = [
        path
        for file, path in zip(FIXTURES[name].files, capture_files(name), strict=True)
        if file.role == "channel"
    ]
    with qmig.open_capture(*files) as capture:
        assert describe_releases(capture.releases) == CHANNELS_ALONE[name]


def test_one_more_sync_than_flush_tells_9_1_and_9_2(capture_files: CaptureFiles) -> None:
    with qmig.open_capture(*capture_files("qemu-9.2-multifd")) as capture:
        assert capture.releases == ("9.2",)
    with qmig.open_capture(*capture_files("qemu-10.0-multifd-zstd")) as capture:
        assert "9.2" not in capture.releases


def test_words_for_releases() -> None:
    assert describe_releases(RELEASES) == "any"
    assert describe_releases(("8.1", "8.2", "9.0")) == "8.1 to 9.0"
    assert describe_releases(("10.2", "11.0", "11.1")) == "10.2 or newer"
    assert describe_releases(("2.4", "2.5")) == "2.5 or older"
    assert describe_releases(("4.0", "8.0", "8.1", "8.2")) == "4.0, or 8.0 to 8.2"
    assert describe_releases(("9.2",)) == "9.2"
    assert describe_releases(()).startswith("unknown")


def test_evidence_narrows_and_can_contradict_itself() -> None:
    assert possible_releases([]) == RELEASES
    old, new = Evidence("old", between(None, "7.2")), Evidence("new", between("9.0", None))
    middle = Evidence("middle", between("7.0", "9.1"))
    assert possible_releases([old, middle]) == ("7.0", "7.1", "7.2")
    assert possible_releases([new, middle]) == ("9.0", "9.1")
    assert possible_releases([old, new]) == ()
