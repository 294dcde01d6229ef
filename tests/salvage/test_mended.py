"""Damage to what the output has anew: the guest is whole, and so is the output."""

import random
from pathlib import Path

import pytest

import qmig
from qmig.salvaging import salvage
from tests.builders import framing, ram
from tests.builders.machine import MainStream
from tests.conftest import CaptureFiles
from tests.salvage.output import pages_of
from tests.salvage.spots import SPOTS, spots
from tests.salvage.test_damage import whole_sections

PAGE_LEN = 4096
NAMES = ("qemu-10.0-ordinary", "qemu-7.2-live", "qemu-5.2-ordinary", "qemu-11.1-devices-q35")


@pytest.mark.parametrize("spot", SPOTS)
@pytest.mark.parametrize("name", NAMES)
def test_one_byte_is_mended(
    name: str, spot: str, capture_files: CaptureFiles, tmp_path: Path
) -> None:
    (path,) = capture_files(name)
    data = path.read_bytes()
    at = spots(data, PAGE_LEN)[spot]
    seeded = random.Random(f"{name} {spot}")  # noqa: S311  # a choice that can be repeated
    damaged = bytearray(data)
    damaged[at] ^= seeded.randrange(1, 256)
    (tmp_path / "damaged").write_bytes(damaged)
    wrong = qmig.validate(tmp_path / "damaged")
    assert any(found.rule.severity == "error" for found in wrong.findings)

    done = salvage(tmp_path / "damaged", out=tmp_path / "out")
    assert done.found.guest_whole
    assert not done.found.whole
    assert len(done.found.damage_mended) == 1
    verdict = qmig.validate(tmp_path / "out")
    assert verdict.sound

    salvage(path, out=tmp_path / "undamaged")
    assert pages_of(tmp_path / "out", PAGE_LEN) == pages_of(tmp_path / "undamaged", PAGE_LEN)
    first, second = whole_sections(path, PAGE_LEN), whole_sections(tmp_path / "out", PAGE_LEN)
    assert [device[:2] for device in first] == [device[:2] for device in second]
    # All but the id, which is the damaged one where the header was hit.
    assert [device[2][5:-4] for device in first] == [device[2][5:-4] for device in second]


def test_a_live_section_whose_footer_is_damaged_is_left_out(tmp_path: Path) -> None:
    """Which of its two ids is right decides what its parts belong to."""
    main = MainStream("10.0", "none")
    body = (2).to_bytes(8, "big")  # EOS
    main.add(framing.section_start(0, "block", body, footer=framing.section_footer(1)))
    main.ram_start(ram.block_list([ram.BlockEntry("ram", PAGE_LEN)]))
    main.ram_part(ram.zero(0, "ram"))
    main.switchover()
    main.ram_end()
    main.standard_devices()
    (tmp_path / "damaged").write_bytes(main.finish())
    found = salvage(tmp_path / "damaged", out=tmp_path / "out").found
    assert not found.guest_whole
    assert [element.name for element, _ in found.elements if not element.complete] == ["block"]
    with qmig.open_capture(tmp_path / "out") as capture:
        assert capture.errors == []


def test_page_size_of_a_damaged_configuration_is_that_of_the_output(tmp_path: Path) -> None:
    """It is known before the damage; another one found by trying would contradict it."""
    bits = framing.target_page_bits(15)
    main = MainStream(
        "10.0", "none", subsections=[bits, framing.subsection("configuration/x", b"")]
    )
    main.ram_start(ram.block_list([ram.BlockEntry("ram", 1 << 15)]))
    main.ram_part(ram.page(0, bytes(range(256)) * 128, "ram"))
    main.ram_end()
    main.standard_devices()
    (tmp_path / "damaged").write_bytes(main.finish())
    found = salvage(tmp_path / "damaged", out=tmp_path / "out").found
    assert found.page_size_len == 1 << 15
    with qmig.open_capture(tmp_path / "out") as capture:
        assert capture.errors == []
