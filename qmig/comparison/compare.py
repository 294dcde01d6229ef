"""Comparing two captures as one call: `qmig.compare`."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from qmig.capture.capture import Capture, open_capture
from qmig.capture.sections import is_salvaged
from qmig.comparison.ignoring import Ignored
from qmig.comparison.model import BlockComparison, Comparison, FieldDifference, What
from qmig.comparison.sections import compare_sections
from qmig.errors import QmigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from qmig.capture.ram_view import RamBlockView
    from qmig.comparison.model import Value

    PathLike = str | os.PathLike[str]

CONFIGURATION: Final = "configuration"
RAM: Final = "ram"


def compare(
    a: PathLike | Sequence[PathLike] | Capture,
    b: PathLike | Sequence[PathLike] | Capture,
    *,
    ignore: Iterable[str] = (),
    ignore_clocks: bool = False,
    accept_missing: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> Comparison:
    """Compare two captures of any container and encoding: what was saved, not how.

    Args:
        a: a file, the files of one migration, or an open capture, which stays open.
        b: the other one.
        ignore: patterns of paths that are left out: fields as `qmig devices` names them,
            sections (`cpu/0`), RAM blocks (`ram/pc.ram`), `configuration/uuid`. `*` is any text,
            `?` any character; a pattern stands for all that lies below it.
        ignore_clocks: leave out fields that hold times.
        accept_missing: take pages that neither capture holds for equal.
        progress: told a RAM block, how many bytes of it were compared, and how many there are.

    Returns:
        What differs. What keeps a capture from being read to its end stands in it, too.

    Raises:
        SourceError: a file cannot be read, is no migration stream, or has no main stream.
        StreamError: the wrapping of a file is damaged.
    """
    with ExitStack() as stack:
        captures = [
            one if isinstance(one, Capture) else stack.enter_context(_opened(one)) for one in (a, b)
        ]
        ignored = Ignored(ignore, clocks=ignore_clocks)
        found = Comparison(accept_missing=accept_missing)
        compare_sections(captures[0], captures[1], ignored, found)
        found.errors = (list(captures[0].errors), list(captures[1].errors))
        found.salvaged = (is_salvaged(captures[0].stream), is_salvaged(captures[1].stream))
        _compare_configurations(captures[0], captures[1], ignored, found)
        _compare_ram(captures[0], captures[1], ignored, found, progress)
        return found


def _opened(files: PathLike | Sequence[PathLike]) -> Capture:
    paths = [files] if isinstance(files, str | os.PathLike) else list(files)
    return open_capture(*paths, keep_all=True)


# -- the configuration ----------------------------------------------------------------------------


def _compare_configurations(a: Capture, b: Capture, ignored: Ignored, found: Comparison) -> None:
    mine, theirs = _configuration(a), _configuration(b)
    for name, value in mine.items():
        other = theirs[name]
        unknown = name == "page_size" and None in (value, other)
        if value == other or unknown:
            continue
        path = f"{CONFIGURATION}/{name}"
        what = What.ONLY if value is None or other is None else What.VALUE
        if ignored.path(path):
            found.configuration_ignored += 1
        else:
            found.configuration.append(FieldDifference(path, "", what, value, other))


def _configuration(capture: Capture) -> Mapping[str, Value]:
    """Return what says which guest it is; capabilities say how it was saved."""
    configuration, size = capture.stream.configuration, capture.page_size
    uuid = configuration.uuid if configuration else None
    return {
        "machine": configuration.machine if configuration else None,
        "page_size": size.length if size else None,
        "uuid": str(uuid) if uuid else None,
    }


# -- RAM ------------------------------------------------------------------------------------------


def _compare_ram(
    a: Capture,
    b: Capture,
    ignored: Ignored,
    found: Comparison,
    progress: Callable[[str, int, int], None] | None,
) -> None:
    from qmig.comparison.ram import compare_blocks

    try:
        mine, theirs = a.ram, b.ram
    except QmigError as error:
        found.ram_unknown = error
        return
    for name in [*mine, *(name for name in theirs if name not in mine)]:
        view_a, view_b = mine.get(name), theirs.get(name)
        if view_a is None or view_b is None or ignored.path(f"{RAM}/{name}"):
            block = _uncompared(name, view_a, view_b)
            block.certain = not (found.salvaged[0] if view_a is None else found.salvaged[1])
            block.ignored = ignored.path(f"{RAM}/{name}")
        else:
            length = min(view_a.used_length, view_b.used_length)
            told = None if progress is None else _Told(progress, name, length)
            block = compare_blocks(view_a, view_b, told)
        found.blocks.append(block)


class _Told:
    """Tells how far the comparison of a block has come."""

    def __init__(self, progress: Callable[[str, int, int], None], name: str, length: int) -> None:
        self._progress = progress
        self._name = name
        self._length = length

    def __call__(self, done_len: int) -> None:
        self._progress(self._name, done_len, self._length)


def _uncompared(name: str, a: RamBlockView | None, b: RamBlockView | None) -> BlockComparison:
    views = [view for view in (a, b) if view is not None]
    return BlockComparison(
        name,
        (a.used_length if a else None, b.used_length if b else None),
        min(view.page_size_len for view in views),
    )
