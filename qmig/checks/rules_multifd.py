"""QM3xx: channels, packets, and how channels and main stream are brought into step."""

from __future__ import annotations

from typing import Final

from qmig.checks.rule import Outcome, Rule, Severity
from qmig.checks.rules_multifd_set import RULES as SET_RULES
from qmig.faults import Fault

_UNFILL: Final = "migration/multifd-nocomp.c: multifd_ram_unfill_packet, 10.0"
_HEADER: Final = "migration/multifd.c: multifd_recv_unfill_packet_header, 10.0"
_INITIAL: Final = "migration/multifd.c: multifd_recv_initial_packet, 10.0"
_THREAD: Final = "migration/multifd.c: multifd_recv_thread, 10.0"
_NEW_CHANNEL: Final = "migration/multifd.c: multifd_recv_new_channel, 10.0"

# What a destination says of the first bytes of a connection counts those that came before it: here
# the files are taken to come in the order in which they are given.
_CHANNELS: Final[tuple[Rule, ...]] = (
    Rule(
        "QM300",
        "begin each channel with version 1",
        Severity.ERROR,
        "All QEMUs since 3.0 write version 1. The channel is judged as if it stood there.",
        _INITIAL,
        Outcome.REFUSES,
        "failed to receive packet via multifd channel {arrived}: "
        "multifd: received packet version {version} expected 1",
        frozenset({Fault.CHANNEL_VERSION}),
    ),
    Rule(
        "QM301",
        "give one UUID in all channels",
        Severity.ERROR,
        "The initial packet carries the UUID of the guest, zeros if it has none. Channels with "
        "different ones are of different migrations; QEMU compares with the UUID that it was "
        "started with.",
        _INITIAL,
        Outcome.REFUSES,
        "failed to receive packet via multifd channel {arrived}: "
        "multifd: received uuid '{uuid}' and expected uuid '{wanted}' for channel {channel}",
    ),
    Rule(
        "QM302",
        "use each channel id once",
        Severity.ERROR,
        "A file may have been given twice, or be of another migration.",
        _NEW_CHANNEL,
        Outcome.REFUSES,
        "multifd: received id '{channel}' already setup'",
    ),
    Rule(
        "QM303",
        "have no id above the number of channels",
        Severity.ERROR,
        "The ids are those from 0 up to one less than multifd-channels. Files are missing: pages "
        "that only they carry are missing as well, and a destination that is set to the greater "
        "number waits for them without end.",
        _INITIAL,
        Outcome.REFUSES,
        "failed to receive packet via multifd channel {arrived}: "
        "multifd: received channel id {channel} is greater than number of channels {channels}",
    ),
    Rule(
        "QM304",
        "leave reserved bytes of initial packets and of others zero",
        Severity.NOTE,
        "Nothing reads them. 4.0 to 4.2 send in the initial packet what their stack held.",
        "migration/multifd.c: MultiFDInit_t; migration/multifd.h: MultiFDPacket_t, 10.0; "
        "migration/ram.c: multifd_send_initial_packet, 4.2",
        Outcome.LOADS,
    ),
    Rule(
        "QM306",
        "have no id that is the number of channels",
        Severity.ERROR,
        "The ids are those from 0 up to one less than multifd-channels, so a file is missing. Up "
        "to 10.1 QEMU lets this one id pass, and looks behind the end of its table of channels: it "
        "ends, or takes the id for one that came before. A destination that is set to the greater "
        "number waits without end.",
        f"{_INITIAL}; multifd_recv_new_channel",
        Outcome.CRASHES,
    ),
    Rule(
        "QM305",
        "end each channel behind a whole packet",
        Severity.ERROR,
        "The file is cut short: what the channel carried from here on is missing.",
        _THREAD,
        Outcome.REFUSES_OR_HANGS,
        None,
        frozenset({Fault.CHANNEL_CUT}),
    ),
)

_PACKETS: Final[tuple[Rule, ...]] = (
    Rule(
        "QM310",
        "begin each packet with 0x11223344",
        Severity.ERROR,
        "The walk goes on at the next packet; the pages of this one are not known.",
        _HEADER,
        Outcome.REFUSES_OR_HANGS,
        "multifd: received packet magic {magic:x}, expected 11223344",
        frozenset({Fault.PACKET_MAGIC}),
    ),
    Rule(
        "QM311",
        "carry version 1 in each packet",
        Severity.ERROR,
        "Packets of all releases have version 1.",
        _HEADER,
        Outcome.REFUSES_OR_HANGS,
        "multifd: received packet version {version}, expected 1",
        frozenset({Fault.PACKET_VERSION}),
    ),
    Rule(
        "QM312",
        "use one compression method in all packets with pages",
        Severity.ERROR,
        "The method is a setting of the migration (multifd-compression). A QEMU takes no other "
        "than the one that it is set to.",
        "migration/multifd-zlib.c: multifd_zlib_recv, and its twins, 10.0",
        Outcome.REFUSES_OR_HANGS,
        "multifd {channel}: flags received {flags:x} flags expected {wanted:x}",
        frozenset({Fault.PACKET_METHOD_CHANGED}),
    ),
    Rule(
        "QM313",
        "use a compression method that there is",
        Severity.ERROR,
        "The methods are none, zlib, zstd, qpl, uadk and qatzip; bits 1 to 5 of the flags are the "
        "number of one of them and no set.",
        "migration/multifd.h: MULTIFD_FLAG_COMPRESSION_MASK, 10.0",
        Outcome.REFUSES_OR_HANGS,
        "multifd {channel}: flags received {flags:x} flags expected {wanted:x}",
        frozenset({Fault.PACKET_METHOD}),
    ),
    Rule(
        "QM314",
        "set known flag bits only",
        Severity.WARNING,
        "Bits 0 to 6 are known. QEMU 10.0 passes over others; a newer one may give them a meaning "
        "that changes how the packet is read.",
        "migration/multifd.h: MULTIFD_FLAG_DEVICE_STATE, 10.0",
        Outcome.LOADS,
    ),
    Rule(
        "QM315",
        "allocate no more pages than a packet holds",
        Severity.ERROR,
        "A packet has room for 512 KiB of pages. Up to 5.2 a destination took a hundred times as "
        "much.",
        _UNFILL,
        Outcome.REFUSES_OR_HANGS,
        "multifd: received packet with {pages} pages, expected {most}",
        frozenset({Fault.PACKET_ALLOC}),
    ),
    Rule(
        "QM316",
        "have no more normal pages than are allocated",
        Severity.ERROR,
        "pages_alloc bounds the number of pages in a packet.",
        _UNFILL,
        Outcome.REFUSES_OR_HANGS,
        "multifd: received packet with {pages} non-zero pages, "
        "which exceeds maximum expected pages {most}",
        frozenset({Fault.PACKET_NORMAL}),
    ),
    Rule(
        "QM317",
        "have no more zero pages than room is left",
        Severity.ERROR,
        "Zero pages stand behind the normal ones in the array of offsets.",
        _UNFILL,
        Outcome.REFUSES_OR_HANGS,
        "multifd: received packet with {pages} zero pages, expected maximum {most}",
        frozenset({Fault.PACKET_ZERO}),
    ),
    Rule(
        "QM318",
        "name a block of the block list where it has pages",
        Severity.ERROR,
        "The pages of the packet belong to no block that the main stream lists.",
        _UNFILL,
        Outcome.REFUSES_OR_HANGS,
        "multifd: unknown ram block {block}",
        frozenset({Fault.PACKET_BLOCK}),
    ),
    Rule(
        "QM319",
        "keep pages inside their block",
        Severity.ERROR,
        "An offset may be at most the block's length less one page.",
        _UNFILL,
        Outcome.REFUSES_OR_HANGS,
        "multifd: offset too long {addr} (max {used_length:x})",
        frozenset({Fault.PACKET_OFFSET}),
    ),
    Rule(
        "QM320",
        "give offsets that are multiples of the page size",
        Severity.WARNING,
        "QEMU writes the page wherever the offset says. No sender has pages anywhere else than at "
        "page boundaries.",
        _UNFILL,
        Outcome.LOADS,
        None,
        frozenset({Fault.PACKET_ALIGNMENT}),
    ),
    Rule(
        "QM321",
        "announce the length of plain pages",
        Severity.WARNING,
        "Without compression next_packet_size is the number of normal pages times the page size. "
        "QEMU does not look at it then.",
        "migration/multifd-nocomp.c: multifd_send_prepare_iovs, multifd_nocomp_recv, 10.0",
        Outcome.LOADS,
    ),
    Rule(
        "QM322",
        "announce no payload where there are zero pages only",
        Severity.ERROR,
        "With compression, next_packet_size is 0 in a packet that has zero pages and no normal "
        "one. 9.0 to 10.0.2 end in an assertion where it is not; later ones refuse it.",
        "migration/multifd-zlib.c: multifd_zlib_recv, and its twins, 10.0",
        Outcome.REFUSES,
        "multifd {channel}: expected empty packet",
    ),
    Rule(
        "QM323",
        "announce the length that the payload has",
        Severity.ERROR,
        "The next packet does not begin where the payload should end. A QEMU reads too little, "
        "or takes the middle of something for a packet; which message that gives depends on the "
        "bytes there.",
        _THREAD,
        Outcome.REFUSES,
        None,
        frozenset({Fault.PACKET_SIZE}),
    ),
    Rule(
        "QM324",
        "announce no more compressed bytes than a receiver has room for",
        Severity.ERROR,
        "Receivers have room for twice the pages of a packet, 1 MiB. 10.0.2 and older do not hold "
        "the length against that, and write behind it.",
        "migration/multifd-zlib.c: multifd_zlib_recv_setup, multifd_zlib_recv, 10.0",
        Outcome.REFUSES,
        "multifd {channel}: next_packet_size {size} exceeds allocated 1048576",
        frozenset({Fault.PACKET_SIZE_LIMIT}),
    ),
    Rule(
        "QM325",
        "carry payloads that decompress",
        Severity.ERROR,
        "The payloads of a channel are one stream of zlib or zstd: behind a damaged one none of "
        "this channel can be decompressed, and none is judged.",
        "migration/multifd-zlib.c: multifd_zlib_recv; multifd-zstd.c: multifd_zstd_recv, 10.0",
        Outcome.REFUSES,
        "multifd {channel}: {says}",
        frozenset({Fault.PAYLOAD_BROKEN}),
    ),
    Rule(
        "QM326",
        "carry payloads that give all their pages",
        Severity.ERROR,
        "A payload decompresses to fewer bytes than the packet has normal pages.",
        "migration/multifd-zlib.c: multifd_zlib_recv; multifd-zstd.c: multifd_zstd_recv, 10.0",
        Outcome.REFUSES,
        "multifd {channel}: {says}",
        frozenset({Fault.PAYLOAD_LEN}),
    ),
    Rule(
        "QM327",
        "carry payloads that give no more than their pages",
        Severity.ERROR,
        "A payload decompresses to more bytes than the packet has normal pages. QEMU stops at the "
        "last page; what is left over comes out first from the next payload, in wrong pages, "
        "or is lost.",
        "migration/multifd-zlib.c: multifd_zlib_recv; multifd-zstd.c: multifd_zstd_recv, 10.0",
        Outcome.LOADS_WRONG,
    ),
    Rule(
        "QM328",
        "carry the pages of an accelerator one by one",
        Severity.ERROR,
        "A payload of qpl and uadk is a length for each page and the pages, each compressed alone "
        "or as it is; one of qatzip is whole gzip members.",
        "migration/multifd-qpl.c: multifd_qpl_recv; multifd-uadk.c: multifd_uadk_recv; "
        "multifd-qatzip.c: qatzip_recv, 10.0",
        Outcome.REFUSES,
        None,
        frozenset({Fault.PAGE_LENGTHS}),
    ),
)

_DEVICE_STATE: Final[tuple[Rule, ...]] = (
    Rule(
        "QM350",
        "end the name in a device-state packet with a NUL",
        Severity.ERROR,
        "The name has a field of 256 bytes, its NUL included.",
        "migration/multifd.c: multifd_device_state_recv, 10.0",
        Outcome.REFUSES,
        "unterminated multifd device state idstr",
        frozenset({Fault.DEVICE_STATE_NAME}),
    ),
    Rule(
        "QM351",
        "have bytes in a device-state packet",
        Severity.ERROR,
        "A packet with device state always has a payload.",
        _THREAD,
        Outcome.REFUSES,
        "multifd: received empty device state packet",
        frozenset({Fault.DEVICE_STATE_EMPTY}),
    ),
    Rule(
        "QM352",
        "not put SYNC on a device-state packet",
        Severity.ERROR,
        "SYNC travels in packets of its own.",
        _THREAD,
        Outcome.REFUSES,
        "multifd: received SYNC device state packet",
    ),
    Rule(
        "QM353",
        "send device state for a section of the main stream",
        Severity.ERROR,
        "The name and instance in the packet are those of a section that the main stream opens.",
        "migration/savevm.c: qemu_loadvm_load_state_buffer, 10.0",
        Outcome.REFUSES,
        "Unknown idstr {idstr} or instance id {instance} for load state buffer",
    ),
)

RULES: Final[tuple[Rule, ...]] = (*_CHANNELS, *_PACKETS, *SET_RULES, *_DEVICE_STATE)
