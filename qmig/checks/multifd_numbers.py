"""packet_num across the channels of a set: one counter from 9.2 on."""

from __future__ import annotations

from heapq import merge
from operator import eq
from typing import TYPE_CHECKING, Any, Final

from qmig.capture.channel_set import missing_packets
from qmig.checks.multifd_log import NO_NUMBER, ChannelLog
from qmig.checks.multifd_packet_checks import name_of
from qmig.wire.multifd import MultifdPacket9
from qmig.wire.record import field_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from qmig.checks.check import Context

_FIELD: Final = field_table(MultifdPacket9)["packet_num"]


def judge_numbers(context: Context, logs: Sequence[ChannelLog]) -> None:
    """Report numbers that repeat, are missing, or go back in a channel.

    Judged one by one where all SYNC packets have pages_alloc 0, which only 9.2 and later write, and
    where no channel is missing. Of the others it can be told how many there must be.
    """
    counts = [log.walk.counters for log in logs]
    syncs = sum(count.syncs for count in counts)
    ids = sorted(log.walk.channel_id or 0 for log in logs)
    bare = syncs > 0 and sum(count.syncs_alloc_zero for count in counts) == syncs
    if ids != list(range(len(logs))):
        return
    missing = missing_packets(log.walk.counters for log in logs)
    if not bare:
        if missing and not any(log.full for log in logs):
            _too_few(context, logs, missing)
        return
    if _as_they_must_be(logs):
        return
    import numpy as np  # slow to import

    numbers = np.concatenate([np.frombuffer(log.numbers, np.uint64) for log in logs])
    log_of = np.repeat(np.arange(len(logs)), [len(log.numbers) for log in logs])
    index_of = np.concatenate([np.arange(len(log.numbers)) for log in logs])
    ram = numbers != NO_NUMBER
    numbers, log_of, index_of = numbers[ram], log_of[ram], index_of[ram]
    _going_back(context, logs)
    order = np.argsort(numbers, kind="stable")
    ordered = numbers[order]
    for at in (np.flatnonzero(ordered[1:] == ordered[:-1]) + 1).tolist():
        first, second = int(order[at - 1]), int(order[at])
        other = logs[int(log_of[first])]
        _report(
            context,
            "QM330",
            logs[int(log_of[second])],
            int(index_of[second]),
            expected="a number that no other packet has",
            found=f"{int(ordered[at])}, as in {name_of(other.walk, int(index_of[first]))}",
        )
    if len(ordered) and int(ordered[-1]) >= len(ordered):
        _gaps(context, "QM331" if missing else "QM333", logs, order, ordered, log_of, index_of)


def _as_they_must_be(logs: Sequence[ChannelLog]) -> bool:
    """Tell whether the channels share the numbers from 0 on, each its own in ascending order."""
    columns = [log.numbers for log in logs]
    # Merging keeps the order of each.
    return all(map(eq, merge(*columns), range(sum(map(len, columns)))))


def _going_back(context: Context, logs: Sequence[ChannelLog]) -> None:
    import numpy as np

    for log in logs:
        numbers = np.frombuffer(log.numbers, np.uint64)
        places = np.flatnonzero(numbers != NO_NUMBER)
        kept = numbers[places]
        for at in (np.flatnonzero(kept[1:] < kept[:-1]) + 1).tolist():
            _report(
                context,
                "QM332",
                log,
                int(places[at]),
                expected=f"more than {int(kept[at - 1])}, as in the packet before",
                found=str(int(kept[at])),
            )


def _too_few(context: Context, logs: Sequence[ChannelLog], missing: int) -> None:
    """Report that there are fewer packets than were numbered, at that of the highest number."""
    highest = max(log.walk.counters.highest_nums[0] for log in logs)
    log = next(log for log in logs if log.walk.counters.highest_nums[0] == highest)
    count = sum(len(log.numbers) - log.numbers.count(NO_NUMBER) for log in logs)
    _report(
        context,
        "QM331",
        log,
        log.numbers.index(highest),
        expected=f"{count + missing} packets, or more, by the numbers of all channels",
        found=str(count),
    )


def _gaps(
    context: Context,
    rule_id: str,
    logs: Sequence[ChannelLog],
    order: np.ndarray[Any, np.dtype[np.int64]],
    ordered: np.ndarray[Any, np.dtype[np.uint64]],
    log_of: np.ndarray[Any, np.dtype[np.int64]],
    index_of: np.ndarray[Any, np.dtype[np.int64]],
) -> None:
    import numpy as np

    before = np.concatenate([np.array([-1]), ordered[:-1].astype(np.int64)])
    for at in np.flatnonzero(ordered.astype(np.int64) - before > 1).tolist():
        behind = int(order[at])
        first, last = int(before[at]) + 1, int(ordered[at]) - 1
        missing = str(first) if first == last else f"{first} to {last}"
        _report(
            context,
            rule_id,
            logs[int(log_of[behind])],
            int(index_of[behind]),
            expected=f"{first} next among all channels",
            found=f"{int(ordered[at])}; no packet has {missing}",
        )


def _report(
    context: Context, rule_id: str, log: ChannelLog, index: int, *, expected: str, found: str
) -> None:
    context.report(
        rule_id,
        log.container,
        offset=log.offsets[index] + _FIELD[0],
        length=_FIELD[1],
        record=name_of(log.walk, index),
        field="packet_num",
        expected=expected,
        found=found,
    )
