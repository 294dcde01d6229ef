"""Every recipe is recorded again from real QEMU, and qmig reads what comes out.

The recordings are fresh: another run of the guest, other rounds, other pages. What holds for the
stored fixtures by luck does not hold here.
"""

from pathlib import Path

import pytest

from fixtures.recipes import RECIPES
from fixtures.recorder import targets
from fixtures.recorder.record import record
from tests.checks.sound import require_not_called_wrong
from tests.interop.claims import CLAIMS, unmet_claims
from tests.interop.judge import (
    Recorded,
    assert_complete,
    assert_formats_are_the_guests,
    assert_ram_is_the_guests,
    assert_release_is_possible,
    opened,
    recorded,
)

TARGETS = targets.RECIPES

TRIES = 3


def judge(what: Recorded, folder: Path) -> None:
    with opened(what) as seen:
        assert unmet_claims(seen) == []
        assert_complete(seen)
        assert_ram_is_the_guests(seen)
        assert_release_is_possible(seen)
    assert_formats_are_the_guests(what, folder / "extracts")
    require_not_called_wrong(what.paths)


@pytest.mark.qemu
@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", RECIPES)
def test_x86_capture_is_read(name: str, qemus: Path, tmp_path: Path) -> None:
    # What a guest that runs does while it is saved is not the same each time; on a busy machine it
    # may not do all that it is recorded for. Then it is recorded again; the last one is judged.
    for attempt in range(TRIES if RECIPES[name].live else 1):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        what = recorded(name, record(RECIPES[name], qemus, folder), folder)
        with opened(what) as seen:
            if not unmet_claims(seen):
                break
    judge(what, folder)


@pytest.mark.qemu
@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", TARGETS)
def test_capture_of_another_target_is_read(name: str, qemus: Path, tmp_path: Path) -> None:
    judge(recorded(name, targets.record(TARGETS[name], qemus, tmp_path), tmp_path), tmp_path)


def test_every_claim_of_a_recipe_is_looked_at() -> None:
    claimed = {
        word
        for recipe in (*RECIPES.values(), *(target.recipe for target in TARGETS.values()))
        for word in recipe.covers
    }
    assert claimed <= set(CLAIMS)


def test_releases_and_encodings_are_all_recorded() -> None:
    """Each release has each of these; a recipe that was dropped would be missed by nothing else."""
    wanted = {
        "5.2": {"ordinary", "live", "xbzrle", "compress", "multifd-none", "multifd-zlib"},
        "7.2": {"ordinary", "live", "xbzrle", "compress", "multifd-none", "multifd-zstd"},
        "10.0": {"ordinary", "live", "xbzrle", "multifd-none", "multifd-zlib", "multifd-zstd"},
        "11.1": {"ordinary", "live", "xbzrle", "multifd-none", "multifd-zlib", "multifd-zstd"},
    }
    for release in ("10.0", "11.1"):
        wanted[release] |= {"mapped-live", "mapped-multifd-live", "postcopy", "postcopy-recovery"}
    for release, kinds in wanted.items():
        assert {f"qemu-{release}-{kind}" for kind in kinds} <= set(RECIPES)
    targets_read = {target.guest.target for target in TARGETS.values()}
    assert {"ppc64", "s390x", "aarch64", "riscv64", "alpha", "avr"} <= targets_read
