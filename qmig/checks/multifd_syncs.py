"""SYNC packets: as many on each channel, and one for each marker of the main stream."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from qmig.capture.releases import RELEASES, between
from qmig.checks.multifd_log import MAIN, NO_NUMBER, ChannelLog, PageLog
from qmig.checks.multifd_packet_checks import name_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qmig.checks.check import Context
    from qmig.checks.multifd_markers import Markers

_WITHOUT_FLUSH: Final = between(None, "8.0")
_TWO_AT_THE_END: Final = between("8.1", "9.0")
_ONE_MORE: Final = between("9.1", "9.2")
_WORD_LEN: Final = 8
_OUT_OF_ORDER: Final = 1000.0  # more than any distance of SYNCs that belong together


def judge_syncs(
    context: Context,
    logs: Sequence[ChannelLog],
    markers: Markers | None,
    pages: PageLog,
    releases: Sequence[str],
    by_channels: Sequence[str],
) -> bool | None:
    """Report SYNCs that are missing, too many, or not where the main stream's markers are.

    Args:
        context: where to report.
        logs: the channels.
        markers: those of the main stream; None where it is damaged or not there.
        pages: the pages of all connections.
        releases: those that can have written the set; the number of SYNCs is no evidence here.
        by_channels: those that can have written the channels alone.

    Returns:
        None where epochs of the channels do not belong together; else whether those of the main
        stream belong to them.
    """
    counts = Counter(len(log.syncs) for log in logs)
    usual = max(counts, key=lambda count: (counts[count], count))
    if len(counts) > 1:
        for log in logs:
            others = [other for other in logs if len(other.syncs) == usual]
            if len(log.syncs) < usual:
                _missing(context, log, others)
            elif len(log.syncs) > usual:
                _additional(context, log, others)
        return None
    if markers is None or not _comparable(context, markers):
        return False
    _places(context, markers, releases, by_channels)
    answered = len(markers.offsets)
    if usual < answered:
        _unanswered(context, logs, markers, pages, usual)
    one_more = usual == answered + 1 and markers.by_flush and bool(_ONE_MORE & set(releases))
    if usual > answered and not one_more:
        log = min(logs, key=lambda log: log.walk.channel_id or 0)
        _report(
            context,
            "QM342",
            log,
            log.syncs[answered],
            expected=f"{answered} SYNCs, one for each marker of the main stream",
            found=f"{usual}",
        )
    _behind(context, logs, min(usual, answered))
    # Where START has no word, EOS words were taken for the markers up to the first one.
    by_one_kind = not markers.by_flush or markers.start_flushes > 0
    return by_one_kind and (usual == answered or one_more)


def _comparable(context: Context, markers: Markers) -> bool:
    """Tell whether the main stream's RAM is there to its end."""
    walk = context.walk
    return walk is not None and walk.ram_ended and bool(markers.eos_offsets)


# -- between channels -----------------------------------------------------------------------------


def _missing(context: Context, log: ChannelLog, others: Sequence[ChannelLog]) -> None:
    """Report the first SYNC that a channel lacks, at the packet that stands in its place."""
    count = len(others[0].syncs)
    lacking = _odd_one(log, others)
    behind = max(other.numbers[other.syncs[lacking]] for other in others)
    index = next(
        (at for at, n in enumerate(log.numbers) if behind < n < NO_NUMBER), len(log.offsets)
    )
    _report(
        context,
        "QM340",
        log,
        index,
        expected=f"SYNC {lacking + 1} of {count} before it, as on the other channels",
        found=f"{len(log.syncs)} SYNCs in all, none there",
    )


def _additional(context: Context, log: ChannelLog, others: Sequence[ChannelLog]) -> None:
    """Report the first SYNC that a channel has and others have not."""
    _report(
        context,
        "QM340",
        log,
        log.syncs[_odd_one(log, others)],
        expected=f"{len(others[0].syncs)} SYNCs, as on the other channels",
        found=f"{len(log.syncs)}; this one is not on the others",
    )


def _odd_one(log: ChannelLog, others: Sequence[ChannelLog]) -> int:
    """Return the index of the first SYNC that only one side has, the channel or all others.

    The SYNCs of one sync are numbered close to one another, whatever the release. So the odd one
    is where those behind it come to stand closest to their counterparts.
    """
    mine = _numbered(log)
    syncs = list(zip(*(_numbered(other) for other in others), strict=True))
    shift = abs(len(mine) - len(syncs))
    pairs = min(len(mine), len(syncs))

    def cost(at: int, *, behind: bool) -> float:
        moved = at + shift * behind
        if len(mine) > len(syncs):
            return _distance(mine[moved], syncs[at])
        return _distance(mine[at], syncs[moved])

    costs = [sum(cost(at, behind=True) for at in range(pairs))]
    for at in range(pairs):
        costs.append(costs[-1] + cost(at, behind=False) - cost(at, behind=True))
    return costs.index(min(costs))


class _Sync(NamedTuple):
    """A SYNC by its number: its channel, and whether channels are numbered in order."""

    number: int
    channel: int
    in_order: bool


def _numbered(log: ChannelLog) -> list[_Sync]:
    channel = log.walk.channel_id or 0
    in_order = log.walk.counters.syncs_alloc_zero == 0
    return [_Sync(log.numbers[index], channel, in_order) for index in log.syncs]


def _distance(mine: _Sync, others: Sequence[_Sync]) -> float:
    """Return how far a SYNC is from those of one sync on the other channels.

    Up to 9.1 channels get the numbers of a sync one by one, in the order of their ids.
    """
    mean = sum(other.number - other.channel for other in others) / len(others)
    distance = abs(mine.number - mine.channel - mean)
    if mine.in_order:
        distance += _OUT_OF_ORDER * sum(
            (other.channel < mine.channel) != (other.number < mine.number) for other in others
        )
    return distance


# -- against the main stream ----------------------------------------------------------------------


def _unanswered(
    context: Context,
    logs: Sequence[ChannelLog],
    markers: Markers,
    pages: PageLog,
    syncs: int,
) -> None:
    """Report that SYNCs are missing: where pages are mixed that a SYNC must part, or at the end."""
    mixed = next((r for r in pages.repeats(main=False) if r.second[0] != MAIN), None)
    log = min(logs, key=lambda log: log.walk.channel_id or 0)
    index, why = len(log.offsets), "none is left for the last marker"
    if mixed is not None:
        later = max(mixed.first, mixed.second, key=lambda o: (logs[o[0]].numbers[o[1]], o))
        log, index = logs[later[0]], later[1]
        why = f"none before {pages.place(mixed.page)}, which comes a second time"
    _report(
        context,
        "QM341",
        log,
        index,
        expected=f"{len(markers.offsets)} SYNCs, one for each marker of the main stream",
        found=f"{syncs}; {why}",
    )


def _behind(context: Context, logs: Sequence[ChannelLog], answered: int) -> None:
    """Report pages behind the SYNC of the last marker."""
    for log in logs:
        late = min((i for syncs, i in log.first_pages.items() if syncs >= answered), default=None)
        if late is not None:
            _report(
                context,
                "QM344",
                log,
                late,
                expected=f"no page behind SYNC {answered}, the last that is waited for",
                found="pages",
            )


def _places(
    context: Context, markers: Markers, releases: Sequence[str], by_channels: Sequence[str]
) -> None:
    """Report MULTIFD_FLUSH words that are missing or stand where no release has them."""
    if not markers.by_flush:
        return
    first = markers.flush_offsets[0]
    if by_channels and _WITHOUT_FLUSH.issuperset(by_channels):
        newest = max(by_channels, key=RELEASES.index)
        found = f"one, though the channels are of {newest} or older"
        _word(context, first, "no MULTIFD_FLUSH word, which came with 8.1", found)
        return
    if markers.start_flushes != 1:
        offset = markers.start_eos_offset or first
        found = str(markers.start_flushes)
        _word(context, offset, "one MULTIFD_FLUSH word in the START section", found)
    walk = context.walk
    postcopy = walk is not None and any(c.name.startswith("POSTCOPY_") for c in walk.commands)
    if markers.end_eos_offset is None or postcopy:
        return
    if markers.end_pages_offset is not None:
        expected = "a MULTIFD_FLUSH word as the last before EOS in the END section"
        _word(context, markers.end_pages_offset, expected, "page records")
        return
    two = bool(releases) and _TWO_AT_THE_END.issuperset(releases)
    if markers.end_flushes < 1 + two:
        expected = f"{1 + two} MULTIFD_FLUSH or more at the end of the END section"
        _word(context, markers.end_eos_offset, expected, str(markers.end_flushes))


def _word(context: Context, offset: int, expected: str, found: str) -> None:
    main = context.capture.main
    if main is not None:
        context.report(
            "QM343",
            main,
            offset=offset,
            length=_WORD_LEN,
            record="RAM word",
            expected=expected,
            found=found,
        )


def _report(
    context: Context, rule_id: str, log: ChannelLog, index: int, *, expected: str, found: str
) -> None:
    end = index >= len(log.offsets)
    context.report(
        rule_id,
        log.container,
        offset=log.walk.end_offset if end else log.offsets[index],
        record=f"multifd {log.walk.label} behind its last packet"
        if end
        else name_of(log.walk, index),
        field=None if end else "flags",
        expected=expected,
        found=found,
    )
