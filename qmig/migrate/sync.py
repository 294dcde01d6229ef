"""When channels are brought into step, and what that puts on which wire: one policy a generation.

A page that is sent again in round n + 1 must never be overtaken by its version of round n on
another channel. So the sender waits for its channels between rounds, and tells the receiver where
that was: a packet with SYNC on every channel, and on the main stream a marker that the receiver
stops at, a MULTIFD_FLUSH word (8.1 and later) or the EOS word of each section (before).

Sources: migration/ram.c (ram_save_setup, ram_save_iterate, ram_save_complete, find_dirty_block) and
migration/multifd.c (multifd_send_sync_main, multifd_ram_flush_and_sync) of 3.1 to 11.1; each row
agrees with captures of the releases in tests/golden.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Sync:
    """What one event does.

    Attributes:
        wait: the sender waits until its channels have nothing left to write.
        packet: each channel gets a packet with SYNC, behind all that it was given.
        flush_word: the main stream gets a MULTIFD_FLUSH word.
    """

    wait: bool = False
    packet: bool = False
    flush_word: bool = False


NOTHING: Final = Sync()
LOCAL: Final = Sync(wait=True)
PACKETS: Final = Sync(wait=True, packet=True)
PACKETS_AND_WORD: Final = Sync(wait=True, packet=True, flush_word=True)


@dataclass(frozen=True, slots=True)
class SyncPolicy:
    """The events of a migration and what each does; the EOS word of a section comes behind.

    Attributes:
        name: for people.
        setup: at the end of the START section.
        part: at the end of each PART section.
        round: where the scan over the dirty pages begins anew, in PART or END.
        completion: at the end of the END section, behind the round that ends in it.
    """

    name: str
    setup: Sync
    part: Sync
    round: Sync
    completion: Sync


EACH_SECTION: Final = SyncPolicy(
    "after each section (3.0 to 8.0, and multifd-flush-after-each-section)",
    setup=PACKETS,
    part=PACKETS,
    round=NOTHING,
    completion=PACKETS,
)
ROUNDS_8_1: Final = SyncPolicy(
    "once a round (8.1 to 9.0)",
    setup=PACKETS_AND_WORD,
    part=NOTHING,
    round=PACKETS_AND_WORD,
    completion=PACKETS_AND_WORD,
)
ROUNDS_9_1: Final = SyncPolicy(
    "once a round, the last SYNC without a word (9.1, 9.2)",
    setup=PACKETS_AND_WORD,
    part=NOTHING,
    round=PACKETS_AND_WORD,
    completion=PACKETS,
)
ROUNDS_10_0: Final = SyncPolicy(
    "once a round, the last one too (10.0 and later)",
    setup=PACKETS_AND_WORD,
    part=NOTHING,
    round=PACKETS_AND_WORD,
    completion=NOTHING,
)
MAPPED_RAM: Final = SyncPolicy(
    "mapped-ram: the sender alone waits; the receiver reads when all is there",
    setup=NOTHING,
    part=NOTHING,
    round=LOCAL,
    completion=LOCAL,
)
