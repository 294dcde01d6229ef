"""What an example of a rule is: files that break it alone, and files that do not."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from fixtures.catalogue import write_with_holes

MAIN = "main"

Files = Mapping[str, bytes]


class Broken(NamedTuple):
    """The files of a capture that breaks one rule.

    Attributes:
        files: name -> content, the main stream first.
        offset: the byte at which the first finding stands.
        file: the file in which it stands; by its beginning where it is compressed.
    """

    files: Files
    offset: int
    file: str = MAIN


class Example(NamedTuple):
    """What shows a rule.

    Attributes:
        broken: builds a capture whose findings are all of this rule (notes apart).
        sound: builds a capture with no error and no warning, which differs as little as can be.
        notes: rules whose notes the broken one has as well, which cannot be helped.
    """

    broken: Callable[[], Broken]
    sound: Callable[[], Files]
    notes: frozenset[str] = frozenset()


def alone(data: bytes) -> Files:
    """Return the files of a capture that is a main stream alone."""
    return {MAIN: data}


def write_files(files: Files, directory: Path) -> list[Path]:
    """Write the files of a capture, with holes where there are zeros, and return their paths."""
    paths: list[Path] = []
    for name, data in files.items():
        path = directory / name
        with path.open("wb") as file:
            write_with_holes(file, data)
            file.truncate(len(data))
        paths.append(path)
    return paths
