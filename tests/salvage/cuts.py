"""Where to cut the files of a fixture: the same places in every run."""

import os
import random
from collections.abc import Sequence
from pathlib import Path

from tests.property.damage import sparse_copy
from tests.salvage.truth import Truth, plain_len

CUTS = 50


def places(name: str, truth: Truth, paths: Sequence[Path], count: int) -> list[tuple[int, int]]:
    """Choose file and length of cuts: every other one behind, before or inside of a page's end."""
    seeded = random.Random(f"cut {name}")  # noqa: S311  # a choice that can be repeated
    lengths = [path.stat().st_size for path in paths]
    found: list[tuple[int, int]] = []
    ends = sorted({(version.file, version.end) for version in truth.versions})
    for number in range(count):
        index, at = number // 2 % len(paths), 0
        mine = [end for file, end in ends if file == index]
        if number % 2 and mine and truth.codec is None:
            at = seeded.choice(mine) + seeded.choice((-1, 0, 1))
        else:
            at = seeded.randrange(1, lengths[index])
        found.append((index, max(1, min(at, lengths[index] - 1))))
    return found


class CutCopies:
    """Copies of a fixture's files, one of which can be cut.

    Args:
        paths: the files; they are not touched.
        folder: where the copies go.
    """

    def __init__(self, paths: Sequence[Path], folder: Path) -> None:
        self._paths = list(paths)
        self.copies = [folder / path.name for path in paths]
        self._cut = dict.fromkeys(range(len(paths)), True)

    def cut(self, index: int, length: int) -> None:
        """Cut one file; the others are whole."""
        for at, copy in enumerate(self.copies):
            if self._cut[at]:
                sparse_copy(self._paths[at], copy)
                self._cut[at] = False
        os.truncate(self.copies[index], length)
        self._cut[index] = True

    def limits(self, truth: Truth, index: int, length: int) -> list[int]:
        """Return how much of the data of each file's stream is left."""
        limits = list(truth.lengths)
        if index == 0 and truth.codec is not None:
            data = self._paths[0].read_bytes()[truth.wrapper_len : length]
            limits[0] = plain_len(truth.codec, data) if data else 0
        else:
            limits[index] = length
        return limits
