"""Breaking captures: fields first, then bits, pieces, cuts and splices; the same for a seed."""

import random
import re
from bisect import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, Literal

from qmig.capture.kinds import STREAM_MAGIC
from tests.fuzz.built import WRAPPERS
from tests.fuzz.gapped import MOST_FILES, Files, Gap, GappedFile
from tests.fuzz.places import Place

MOST_LEN: Final = 256 * 1024  # of one file's data; what grows beyond is cut
_WIDTHS: Final = (1, 2, 4, 8)
_TOKEN: Final = re.compile(rb'\d+|"[A-Za-z_ ./-]{1,40}"|[\[\]{}:,]|true|null')
_TOKENS: Final = (
    b"0", b"-1", b"1", b"255", b"65536", b"4294967295", b"18446744073709551615", b"1e309", b"NaN",
    b"99999999999999999999999999", b"1.5", b"null", b"true", b'""', b'"\\ud800"', b'"\\u001b[2J"',
    b'"struct"', b'"buffer"', b'"array_len"', b'"uint8"', b'"size"', b'"fields"', b"[]", b"{}",
    b"[" * 70, b"{", b"}", b'"', b"\\", b"\xff", b'"name"', b'"index"', b'"version"', b'"bool"',
    b'"subsections"', b'"nullptr"', b'"qtailq"', b'"list"', b'"page_size"', b'"instance_id"',
)  # fmt: skip


@dataclass(frozen=True)
class Seed:
    """A capture to begin with.

    Attributes:
        name: what it is.
        files: its files.
        places: the fields of its records.
    """

    name: str
    files: Files
    places: Sequence[Place]

    @property
    def weight(self) -> float:
        """How often it is taken: what takes half the time is taken almost three times as often."""
        cost = 20 + len(self.places) + sum(len(file.data) for file in self.files) / 400
        return float(cost**-1.5)


class Mutator:
    """Makes broken captures of sound ones.

    Args:
        seeds: the sound ones.
        run: number of the run; with the number of an input it decides all that is done.
    """

    def __init__(self, seeds: Sequence[Seed], run: int) -> None:
        self._seeds = seeds
        self._run = run
        self._telling = [[p for p in seed.places if p.telling] for seed in seeds]
        self._random = random.Random()  # noqa: S311  # choices that can be repeated
        self._chosen = list(accumulate(seed.weight for seed in seeds))
        self._changes: Sequence[Callable[[bytearray], None]] = (
            self._flip, self._flip, self._number, self._number, self._cut, self._remove,
            self._repeat, self._insert, self._splice, self._overwrite,
        )  # fmt: skip

    def made(self, number: int) -> tuple[str, Files]:
        """Return the name of the seed and the files of one input."""
        chance = self._random
        chance.seed(f"{self._run}:{number}")
        index = bisect(self._chosen, chance.random() * self._chosen[-1])
        seed = self._seeds[index]
        data = [bytearray(file.data) for file in seed.files]
        gaps = [list(file.gaps) for file in seed.files]
        telling = self._telling[index]
        dice = chance.random()
        if telling and dice < 0.65:
            for _ in range(self._few()):
                place = chance.choice(telling if chance.random() < 0.85 else seed.places)
                self._field(data[place.file], place)
        if dice >= 0.9:
            self._describe(data, seed.places)
        if dice >= 0.5:
            for _ in range(self._few()):
                chance.choice(self._changes)(chance.choice(data))
        files = [GappedFile(bytes(d[:MOST_LEN]), tuple(g)) for d, g in zip(data, gaps, strict=True)]
        if chance.random() < 0.03:
            files = self._rearranged(files)
        return seed.name, tuple(files)

    def _few(self) -> int:
        count = 1
        while count < 6 and self._random.random() < 0.4:
            count += 1
        return count

    # -- fields -----------------------------------------------------------------------------------

    def _field(self, data: bytearray, place: Place) -> None:
        """Put a telling value into a field."""
        start, end = place.offset, place.offset + place.length
        if place.length not in _WIDTHS:  # text, or an array
            self._text(data, start, end)
            return
        old = int.from_bytes(data[start:end], "big")
        data[start:end] = self._value(old, place.length, len(data)).to_bytes(place.length, "big")

    def _value(self, old: int, width: int, data_len: int) -> int:
        chance, bits = self._random, 8 * width
        most = (1 << bits) - 1
        choice = chance.randrange(10)
        if choice == 0:
            new = chance.choice((0, 1, 2, most, most - 1, most >> 1, (most >> 1) + 1))
        elif choice == 1:
            new = old + chance.choice((-2, -1, 1, 2, 7, 8, 255, 256, 4096, -256))
        elif choice in (2, 3):
            new = old ^ (1 << chance.randrange(bits))
        elif choice == 4:
            new = 1 << chance.randrange(bits)
        elif choice == 5:
            new = (1 << chance.randrange(bits)) - chance.choice((1, 4096, 256))
        elif choice == 6:
            new = data_len + chance.randrange(-64, 64)
        elif choice == 7:
            new = old * chance.choice((2, 3, 16, 256)) if old else chance.randrange(most + 1)
        elif choice == 8:
            new = chance.randrange(min(most, 300) + 1)
        else:
            new = chance.randrange(most + 1)
        return new & most

    def _text(self, data: bytearray, start: int, end: int) -> None:
        chance = self._random
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(start, end)
            if at < len(data):
                data[at] = chance.choice((0, 0x1B, 0xFF, 0x0A, 0x2F, 0x22, chance.randrange(256)))

    def _describe(self, data: list[bytearray], places: Sequence[Place]) -> None:
        """Change words of the vmdescription and the length in front of it in step."""
        heads = [p for p in places if (p.record, p.field) == ("VmDescriptionHead", "length")]
        if not heads:
            return
        place = heads[-1]
        whole = data[place.file]
        start = place.offset + place.length
        length = int.from_bytes(whole[place.offset : start], "big")
        text = bytes(whole[start : start + length])
        for _ in range(self._few()):
            found = list(_TOKEN.finditer(text))
            if not found:
                return
            token = self._random.choice(found)
            new = self._random.choice(_TOKENS)
            if self._random.random() < 0.2:  # another word that stands there
                new = self._random.choice(found).group()
            text = text[: token.start()] + new + text[token.end() :]
        whole[start : start + length] = text
        whole[place.offset : start] = len(text).to_bytes(place.length, "big")

    # -- bytes ------------------------------------------------------------------------------------

    def _at(self, data: bytearray) -> int:
        return self._random.randrange(len(data)) if data else 0

    def _piece(self, data: bytearray) -> tuple[int, int]:
        at = self._at(data)
        return at, at + self._random.choice((1, 2, 4, 5, 8, 16, 64, 300, 1500, 5000))

    def _flip(self, data: bytearray) -> None:
        if data:
            data[self._at(data)] ^= 1 << self._random.randrange(8)

    def _number(self, data: bytearray) -> None:
        width = self._random.choice(_WIDTHS)
        if len(data) < width:
            return
        at = self._random.randrange(len(data) - width + 1)
        old = int.from_bytes(data[at : at + width], "big")
        order: Literal["big", "little"] = self._random.choice(("big", "big", "little"))
        new = self._value(old, width, len(data))
        data[at : at + width] = new.to_bytes(width, order)

    def _cut(self, data: bytearray) -> None:
        del data[self._at(data) :]

    def _remove(self, data: bytearray) -> None:
        start, end = self._piece(data)
        del data[start:end]

    def _repeat(self, data: bytearray) -> None:
        start, end = self._piece(data)
        piece = data[start:end]
        data[end:end] = piece * self._random.choice((1, 1, 2, 30))

    def _insert(self, data: bytearray) -> None:
        at = self._at(data)
        length = self._random.choice((1, 2, 4, 8, 40))
        data[at:at] = self._random.choice((bytes(length), self._random.randbytes(length)))

    def _overwrite(self, data: bytearray) -> None:
        at = self._at(data)
        length = self._random.choice((1, 2, 4, 8, 40))
        data[at : at + length] = self._random.randbytes(min(length, len(data) - at))

    def _splice(self, data: bytearray) -> None:
        """Put a piece of another seed in, or its end behind our beginning."""
        other = self._random.choice(self._random.choice(self._seeds).files).data
        source = bytearray(other)
        start, end = self._piece(source)
        at = self._at(data)
        if self._random.random() < 0.5:
            data[at:at] = source[start:end]
        else:
            data[at:] = source[start:]

    # -- files ------------------------------------------------------------------------------------

    def _rearranged(self, files: list[GappedFile]) -> list[GappedFile]:
        """Compress a file, move a gap, or drop, double or swap files of a set."""
        chance = self._random
        index = chance.randrange(len(files))
        data, gaps = files[index]
        choice = chance.randrange(4)
        if choice == 0 and not gaps:
            wrap = chance.choice(list(WRAPPERS.values()))
            files[index] = GappedFile(wrap(data))
        elif choice == 1 and data.startswith(STREAM_MAGIC):  # else a gap can be a GiB when unpacked
            gap = Gap(chance.randrange(len(data) + 1), 4096 * chance.randrange(1, 600))
            files[index] = GappedFile(data, tuple(sorted((*gaps, gap)))[:8])
        elif choice == 2 and len(files) > 1:
            del files[index]
        elif len(files) < MOST_FILES:
            other = chance.choice(self._seeds).files
            files.append(chance.choice(other))
        return files
