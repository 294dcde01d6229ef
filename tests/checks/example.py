"""What an example of a rule is: files that break it alone, and files that do not."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

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
