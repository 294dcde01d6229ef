"""Whether the files of a multifd migration are all there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qmig.capture.requirements import uses_multifd
from qmig.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qmig.capture.capture import Capture
    from qmig.capture.channel_packets import ChannelCounters

_HINT = "give all files of the migration together"


def channels_not_given(capture: Capture) -> SourceError | None:
    """Return the error of a capture whose RAM went over multifd channels that are not there.

    It is no damage, and nothing of that RAM is known: neither that it is right, nor its bytes.
    """
    path = capture.files[0].path
    if not capture.channel_files:
        shown = uses_multifd(capture)
        if shown is None:
            return None
        return SourceError(
            f"its RAM went over multifd channels, whose files were not given: {shown}",
            path=path,
            hint=_HINT,
        )
    missing = missing_packets(channel.walk.counters for channel in capture.channels)
    if not missing:
        return None
    return SourceError(
        f"{missing} packets of its multifd channels, or more, are in none of the files",
        path=path,
        hint=_HINT,
    )


def missing_packets(channels: Iterable[ChannelCounters]) -> int:
    """Return how many packets are in no channel, at least.

    One counter numbers the packets of all channels, from 0 on. Up to 8.2 two of them can get one
    number, and then none gets the next; so the highest tells in all releases how many there were
    (migration/multifd.c: multifd_send_pages, 3.1 to 8.2; multifd_send_fill_packet, 9.0). One number
    alone may be damaged, for no receiver looks at it: so one far above the others is not believed.

    Args:
        channels: what was counted in each.
    """
    numbered, highest = 0, [-1, -1]
    for counters in channels:
        numbered += counters.packets - counters.device_state_packets
        highest += counters.highest_nums
    first, second = sorted(highest)[:-3:-1]
    believed = first if first <= second + 1 else second
    return max(0, believed + 1 - numbered)
