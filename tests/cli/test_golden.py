"""The text of reports, as a person reads it; `--update-golden` writes it anew.

The files are named relative to their folder, as a person would name them there.
"""

import os
from pathlib import Path

import pytest

from tests.cli.conftest import ROOT
from tests.cli.reports import report_of, text_of
from tests.conftest import CaptureFiles
from tests.documents import require_golden

GOLDEN = Path(__file__).with_name("golden")
CHOSEN = (
    "handmade-multifd-device-state",
    "libvirt-12-partial",
    "libvirt-12-sparse",
    "libvirt-12-xz",
    "qemu-10.0-alpha-page-size-field",
    "qemu-10.0-ppc64-xbzrle",
    "qemu-10.0-mapped-offset",
    "qemu-11.1-multifd-zlib",
    "qemu-11.1-postcopy-recovery",
    "qemu-5.2-machine-i440fx-2.2",
    "qemu-7.2-compress-xbzrle",
)


@pytest.mark.parametrize("name", CHOSEN)
def test_text_is_the_expected_one(
    name: str,
    capture_files: CaptureFiles,
    monkeypatch: pytest.MonkeyPatch,
    update_golden: bool,
) -> None:
    paths = capture_files(name)
    monkeypatch.chdir(paths[0].parent)
    lines = text_of(report_of([Path(path.name) for path in paths]))
    assert all(len(line) <= 100 for line in lines)
    text = "\n".join(lines) + "\n"
    require_golden(text, GOLDEN / f"{name}.txt", update=update_golden)


def test_golden_files_are_those_of_the_tests() -> None:
    assert sorted(path.stem for path in GOLDEN.iterdir()) == sorted(CHOSEN)


def test_golden_texts_name_no_folder() -> None:
    for path in GOLDEN.iterdir():
        text = path.read_text()
        assert os.sep + "tmp" + os.sep not in text
        assert str(ROOT) not in text
