"""QM04x to QM06x: commands, and the order that postcopy gives them."""

from __future__ import annotations

from typing import Final

from qmig.checks.rule import Outcome, Rule, Severity
from qmig.faults import Fault

_ERROR: Final = Severity.ERROR
_REFUSES: Final = Outcome.REFUSES
_PROCESS: Final = "migration/savevm.c: loadvm_process_command, 10.0"
_ADVISE: Final = "migration/savevm.c: loadvm_postcopy_handle_advise, 10.0"
_DISCARD: Final = "migration/savevm.c: loadvm_postcopy_ram_handle_discard, 10.0"
_RECV_BITMAP: Final = "migration/savevm.c: loadvm_handle_recv_bitmap, 10.0"
_PACKAGED: Final = "migration/savevm.c: loadvm_handle_cmd_packaged, 10.0"

RULES: Final[tuple[Rule, ...]] = (
    Rule(
        "QM040",
        "use the commands 1 to 11",
        _ERROR,
        "A command with another number is unknown to every QEMU so far.",
        _PROCESS,
        _REFUSES,
        "MIG_CMD 0x{command:x} unknown (len 0x{len:x})",
        frozenset({Fault.COMMAND_NUMBER}),
    ),
    Rule(
        "QM041",
        "give each command the length that it has",
        _ERROR,
        "Most commands have one length, and a QEMU compares it before it reads the payload.",
        _PROCESS,
        _REFUSES,
        "{command} received with bad length - expecting {wanted_len}, got {len}",
        frozenset({Fault.COMMAND_LEN}),
    ),
    Rule(
        "QM042",
        "open the return path before the first PING",
        _ERROR,
        "The destination answers a PING on the return path, which OPEN_RETURN_PATH asks it to "
        "open.",
        _PROCESS,
        _REFUSES,
        "CMD_PING (0x{value:x}) received with no return path",
    ),
    Rule(
        "QM043",
        "announce postcopy once",
        _ERROR,
        "POSTCOPY_ADVISE belongs at the head of the stream, once.",
        _ADVISE,
        _REFUSES,
        "CMD_POSTCOPY_ADVISE in wrong postcopy state ({state})",
    ),
    Rule(
        "QM044",
        "give POSTCOPY_ADVISE 0 or 16 bytes",
        _ERROR,
        "16 bytes announce postcopy of RAM, none that of dirty bitmaps alone.",
        _ADVISE,
        _REFUSES,
        "CMD_POSTCOPY_ADVISE invalid length ({len})",
        frozenset({Fault.ADVISE_LEN}),
    ),
    Rule(
        "QM045",
        "announce postcopy of RAM where RAM goes by postcopy",
        _ERROR,
        "DISCARD, LISTEN and page records behind RUN need the 16 bytes of POSTCOPY_ADVISE.",
        _DISCARD,
        _REFUSES,
        "RAM postcopy is enabled but have 0 byte advise",
    ),
    Rule(
        "QM046",
        "announce the page sizes that the stream has",
        _ERROR,
        "POSTCOPY_ADVISE repeats the target page size, and tells the sizes of the pages that RAM "
        "is made of at the host: those that the block list has, and one more. A destination that "
        "agrees with the rest of the stream refuses others.",
        _ADVISE,
        _REFUSES,
        "Postcopy needs matching {says}",
    ),
    Rule(
        "QM047",
        "send LISTEN behind ADVISE or DISCARD",
        _ERROR,
        "Postcopy has states, and each command leads from one to the next.",
        "migration/savevm.c: loadvm_postcopy_handle_listen, 10.0",
        _REFUSES,
        "CMD_POSTCOPY_LISTEN in wrong postcopy state ({state})",
    ),
    Rule(
        "QM048",
        "send RUN behind LISTEN",
        _ERROR,
        "RUN starts the guest at the destination, which must be listening for its pages.",
        "migration/savevm.c: loadvm_postcopy_handle_run, 10.0",
        _REFUSES,
        "CMD_POSTCOPY_RUN in wrong postcopy state ({state})",
    ),
    Rule(
        "QM049",
        "send DISCARD behind ADVISE and before LISTEN",
        _ERROR,
        "DISCARD drops pages that were sent and dirtied, before the destination asks for any.",
        _DISCARD,
        _REFUSES,
        "CMD_POSTCOPY_RAM_DISCARD in wrong postcopy state ({state})",
    ),
    Rule(
        "QM050",
        "have version 0 of DISCARD",
        _ERROR,
        "There has never been another one.",
        _DISCARD,
        _REFUSES,
        "CMD_POSTCOPY_RAM_DISCARD invalid version ({version})",
    ),
    Rule(
        "QM051",
        "end the name in DISCARD with a NUL",
        _ERROR,
        "The name has its length in front, and a NUL behind it all the same.",
        _DISCARD,
        _REFUSES,
        "CMD_POSTCOPY_RAM_DISCARD missing nil ({nul})",
    ),
    Rule(
        "QM052",
        "give DISCARD whole ranges, one at least",
        _ERROR,
        "What stands behind the name is pairs of start and length, 16 bytes each.",
        _DISCARD,
        _REFUSES,
        "CMD_POSTCOPY_RAM_DISCARD invalid length ({len})",
        frozenset({Fault.DISCARD_LEN}),
    ),
    Rule(
        "QM053",
        "discard ranges of blocks that the block list has",
        _ERROR,
        "A destination finds the block by its name.",
        "migration/ram.c: ram_discard_range, 10.0",
        _REFUSES,
        "ram_discard_range: Failed to find block '{block}'",
    ),
    Rule(
        "QM054",
        "discard ranges inside a block",
        _ERROR,
        "A range must end at or before the end of its block.",
        "system/physmem.c: ram_block_discard_range, 10.0",
        _REFUSES,
        "ram_block_discard_range: Overrun block '{block}' ({start}/{len:x}/{block_len:x})",
    ),
    Rule(
        "QM055",
        "have a package no longer than the data",
        _ERROR,
        "A destination reads the whole package before it looks into it.",
        _PACKAGED,
        _REFUSES,
        "CMD_PACKAGED: Buffer receive fail ret={available} length={length}",
        frozenset({Fault.PACKAGE_CUT}),
    ),
    Rule(
        "QM057",
        "have no package inside a package",
        _ERROR,
        "No QEMU sends one.",
        _PACKAGED,
        _REFUSES,
        None,
        frozenset({Fault.PACKAGE_IN_PACKAGE}),
    ),
    Rule(
        "QM058",
        "ask in RECV_BITMAP for blocks that the block list has",
        _ERROR,
        "A destination finds the block by its name.",
        _RECV_BITMAP,
        _REFUSES,
        "loadvm_handle_recv_bitmap: block '{block}' not found",
    ),
    Rule(
        "QM059",
        "fill RECV_BITMAP with the name and nothing else",
        _ERROR,
        "The command's length is that of the name and its length byte.",
        _RECV_BITMAP,
        _REFUSES,
        "loadvm_handle_recv_bitmap: invalid payload length ({len})",
        frozenset({Fault.RECV_BITMAP_LEN}),
    ),
    Rule(
        "QM060",
        "send POSTCOPY_RESUME only on a connection that resumes another",
        Severity.WARNING,
        "A destination that is not paused says so and goes on.",
        "migration/savevm.c: loadvm_postcopy_handle_resume, 10.0",
        Outcome.LOADS,
        "loadvm_postcopy_handle_resume: illegal resume received",
    ),
    Rule(
        "QM061",
        "discard whole pages",
        _ERROR,
        "A range must begin and end at a border of pages; a destination says at which address of "
        "its own one does not.",
        "system/physmem.c: ram_block_discard_range, 10.0",
        _REFUSES,
    ),
)
