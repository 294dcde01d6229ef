"""QM33x and QM34x: what the channels of a migration are to each other and to the main stream."""

from __future__ import annotations

from typing import Final

from qmig.checks.rule import Outcome, Rule, Severity

_NUMBERS: Final = "migration/multifd.c: multifd_send_fill_packet, 9.2 to 11.1"
_SYNC: Final = "migration/multifd.c: multifd_send_sync_main, multifd_recv_sync_main, 10.0"
_FLUSH: Final = (
    "migration/ram.c: ram_save_setup, find_dirty_block, ram_save_complete; "
    "multifd-nocomp.c: multifd_ram_flush_and_sync; 8.1 to 11.1"
)

RULES: Final[tuple[Rule, ...]] = (
    Rule(
        "QM330",
        "give each packet a number of its own",
        Severity.WARNING,
        "Since 9.2 one counter numbers the packets of all channels. No receiver looks at it; a "
        "number that comes twice shows a sender whose counter is not safe against its threads, or "
        "a channel of another migration. Up to 8.2 numbers repeat, and this is not judged.",
        _NUMBERS,
        Outcome.LOADS,
    ),
    Rule(
        "QM331",
        "have all packets that were numbered",
        Severity.ERROR,
        "Since 9.2 the numbers of all channels together run from 0 without a gap; before, there "
        "are at least as many packets as the highest number tells. A packet that is missing was "
        "lost on the way into the capture with its pages, or the file of a channel was not given.",
        _NUMBERS,
        Outcome.LOADS_WRONG,
    ),
    Rule(
        "QM332",
        "number the packets of a channel in their order",
        Severity.WARNING,
        "Since 9.2 a packet gets its number when it is filled, and each channel sends its packets "
        "in that order.",
        _NUMBERS,
        Outcome.LOADS,
    ),
    Rule(
        "QM333",
        "number packets no higher than there are packets",
        Severity.WARNING,
        "Since 9.2 the numbers of all channels together run from 0 without a gap. There are as "
        "many packets as there should be, so it is the number that is damaged; no receiver looks "
        "at it.",
        _NUMBERS,
        Outcome.LOADS,
    ),
    Rule(
        "QM340",
        "put as many SYNCs on each channel",
        Severity.ERROR,
        "Each sync is a packet with SYNC on every channel. A receiver waits for all of them, and "
        "where one is missing it waits without end and prints nothing.",
        _SYNC,
        Outcome.HANGS,
    ),
    Rule(
        "QM341",
        "have a SYNC for each marker of the main stream",
        Severity.ERROR,
        "The receiver stops at each MULTIFD_FLUSH word (8.1 and later), or at each EOS word where "
        "there are none, until a SYNC has come from every channel. One that never comes is waited "
        "for without end.",
        _SYNC,
        Outcome.HANGS,
    ),
    Rule(
        "QM342",
        "have a marker in the main stream for each SYNC",
        Severity.WARNING,
        "A channel that has received a SYNC waits for the marker before it reads on. 9.1 and 9.2 "
        "send one SYNC more than MULTIFD_FLUSH words, behind all pages; no other release does.",
        _SYNC,
        Outcome.LOADS,
    ),
    Rule(
        "QM343",
        "put MULTIFD_FLUSH words where its release does",
        Severity.WARNING,
        "8.1 and later send one in the START section, one where a round ends, and the last one at "
        "the end of the END section; with multifd-flush-after-each-section, and up to 8.0, there "
        "is none. While there are as many as SYNCs, and all pages go over channels, a word "
        "elsewhere does no harm. Where zero pages go over the main stream (8.1 to 8.2, and "
        "zero-page-detection=legacy) it may mix the pages of two rounds, which is QM345; and a "
        "QEMU up to 8.0 refuses each such word.",
        _FLUSH,
        Outcome.LOADS,
    ),
    Rule(
        "QM344",
        "send no page behind the last SYNC",
        Severity.WARNING,
        "Nothing waits for what a channel sends behind the SYNC of the last marker. Whether a "
        "destination has read it when the guest goes on is left to chance.",
        _SYNC,
        Outcome.LOADS,
    ),
    Rule(
        "QM345",
        "not send a page on two connections between two syncs",
        Severity.ERROR,
        "Connections are read side by side. Of two versions of a page that come on different ones "
        "with no SYNC between them, either may be written last: the guest may go on with the older "
        "one. Senders since 8.1 send a page once between two syncs.",
        _FLUSH,
        Outcome.LOADS_WRONG,
    ),
    Rule(
        "QM346",
        "send a page once between two syncs, also up to 8.0",
        Severity.NOTE,
        "Up to 8.0 a race in the queue sends a page at the border of two packets twice, and 4.2 "
        "sends the pages of a packet again behind a SYNC. The newer version follows with the next "
        "round, unless the guest had stopped by then.",
        "migration/multifd.c: multifd_queue_page, 5.2 to 8.0; migration/ram.c: "
        "multifd_send_thread, 4.2",
        Outcome.LOADS,
    ),
)
