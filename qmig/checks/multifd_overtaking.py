"""Pages that come on two connections with no sync between: nothing tells which is the newer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qmig.capture.releases import RELEASES
from qmig.checks.multifd_log import MAIN, ChannelLog, PageLog
from qmig.checks.multifd_packet_checks import name_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qmig.checks.check import Context

_FIRST_STRICT: Final = RELEASES.index("8.1")


def judge_overtaking(
    context: Context,
    logs: Sequence[ChannelLog],
    pages: PageLog,
    releases: Sequence[str],
    *,
    main: bool,
) -> None:
    """Report pages that come on two connections between two syncs.

    Args:
        context: where to report.
        logs: the channels.
        pages: their pages and those of the main stream.
        releases: those that can have written the set, oldest first.
        main: whether the main stream's markers are those of the SYNCs, so that its pages count.
    """
    strict = bool(releases) and RELEASES.index(releases[0]) >= _FIRST_STRICT
    told: set[tuple[tuple[int, int], tuple[int, int]]] = set()
    for repeat in pages.repeats(main=main):
        pair = sorted((repeat.first, repeat.second), key=lambda origin: _rank(logs, origin))
        (other, other_index), (connection, index) = pair
        if other == connection or (pair[0], pair[1]) in told:
            continue
        told.add((pair[0], pair[1]))
        log = logs[connection]
        place, where = pages.place(repeat.page), _origin(logs, other, other_index)
        context.report(
            "QM345" if strict else "QM346",
            log.container,
            offset=log.offsets[index],
            length=0,
            record=name_of(log.walk, index),
            field="offset",
            expected="pages that no other connection carries since the last SYNC",
            found=f"{place}, which is also in {where}",
        )


def _rank(logs: Sequence[ChannelLog], origin: tuple[int, int]) -> tuple[bool, int, int, int]:
    """Return a key by which the packet that is named comes last: the one that was sent later."""
    connection, index = origin
    if connection == MAIN:
        return (False, 0, 0, 0)
    log = logs[connection]
    return (True, log.numbers[index], log.walk.channel_id or 0, index)


def _origin(logs: Sequence[ChannelLog], connection: int, index: int) -> str:
    if connection == MAIN:
        return "the main stream"
    log = logs[connection]
    return f"{name_of(log.walk, index)} at 0x{log.offsets[index]:x}"
