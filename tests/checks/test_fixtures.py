"""What real QEMUs and libvirt wrote is not called wrong: no error, no warning."""

from typing import Final

import pytest

from qmig.checks.validate import validate
from tests.checks.sound import require_not_called_wrong
from tests.conftest import CaptureFiles
from tests.corpus import FIXTURES

# Fixtures that are wrong, with the rules that say so: libvirt saves that were killed, and streams
# built by hand with what no QEMU 10.0 loads.
WRONG: Final = {
    "libvirt-12-partial": {"QM123", "QM501"},
    "libvirt-12-sparse-partial": {"QM019", "QM215", "QM501"},
    "handmade-ram-fill-byte": {"QM115"},
    "handmade-ram-hook": {"QM111"},
}


@pytest.mark.parametrize("name", FIXTURES)
def test_fixture_is_not_called_wrong(name: str, capture_files: CaptureFiles) -> None:
    paths = capture_files(name)
    if name in WRONG:
        verdict = validate(*paths)
        assert set(verdict.counts) == WRONG[name], [str(finding) for finding in verdict.findings]
    else:
        require_not_called_wrong(paths)


def _has_channels(name: str) -> bool:
    fixture = FIXTURES[name]
    mapped = any(cover.startswith("mapped-ram:") for cover in fixture.covers)
    return fixture.origin == "qemu" and not mapped and "channel" in {f.role for f in fixture.files}


@pytest.mark.parametrize("name", [*filter(_has_channels, FIXTURES)])
def test_a_main_stream_without_its_channels_is_not_called_right(
    name: str, capture_files: CaptureFiles
) -> None:
    """All of its RAM is missing, and nothing is wrong with it."""
    mains = [
        path
        for path, file in zip(capture_files(name), FIXTURES[name].files, strict=True)
        if file.role != "channel"
    ]
    verdict = validate(*mains)
    assert not verdict.sound
    assert any("files were not given" in str(error) for error in verdict.unjudged)


def test_what_is_wrong_was_cut_short_or_built_by_hand() -> None:
    assert WRONG.keys() <= FIXTURES.keys()
    assert all("partial" in name or name.startswith("handmade") for name in WRONG)
