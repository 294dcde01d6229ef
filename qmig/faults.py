"""What a reader can meet at a byte that it cannot get past, by name.

A reader says what it met; what that means to a QEMU is told by the rules (`qmig.checks`), which
name these. One member for each cause that a rule tells apart.
"""

from __future__ import annotations

from enum import StrEnum


class Fault(StrEnum):
    """The cause of a `StreamError`; the values are for people who debug qmig."""

    # for errors without a name of their own
    DATA_END = "data-end"
    LIMIT = "limit"
    OTHER = "other"

    FILE_VERSION = "file-version"
    OLD_FILE_VERSION = "old-file-version"
    CONFIGURATION_MISSING = "configuration-missing"
    MACHINE_NAME = "machine-name"
    CONFIGURATION_SUBSECTION = "configuration-subsection"
    SUBSECTION_VERSION = "subsection-version"
    TARGET_PAGE_BITS = "target-page-bits"
    CAPABILITY_MAPPED = "capability-mapped"
    SECTION_ID = "section-id"
    SECTION_NAME = "section-name"
    RAM_VERSION = "ram-version"
    FOOTER_MISSING = "footer-missing"
    FOOTER_ID = "footer-id"
    ELEMENT_TYPE = "element-type"
    EOF_EARLY = "eof-early"

    RAM_OPENING = "ram-opening"
    RAM_BLOCK_NAMELESS = "ram-block-nameless"
    RAM_BLOCK_LEN = "ram-block-len"
    RAM_BLOCKS_CUT = "ram-blocks-cut"
    RAM_FLAGS = "ram-flags"
    RAM_BLOCKS_AGAIN = "ram-blocks-again"
    RAM_HOOK = "ram-hook"
    RAM_CONTINUE = "ram-continue"
    RAM_BLOCK_UNKNOWN = "ram-block-unknown"
    RAM_ADDR = "ram-addr"
    RAM_CUT = "ram-cut"
    XBZRLE_FLAG = "xbzrle-flag"
    XBZRLE_LEN = "xbzrle-len"
    COMPRESSED_LEN = "compressed-len"

    MAPPED_VERSION = "mapped-version"
    MAPPED_PAGE_SIZE_ZERO = "mapped-page-size-zero"
    MAPPED_PAGE_SIZE = "mapped-page-size"
    MAPPED_PAGES_ALIGNMENT = "mapped-pages-alignment"
    MAPPED_PAGES_PLACE = "mapped-pages-place"
    MAPPED_BITMAP_CUT = "mapped-bitmap-cut"
    MAPPED_PAGES_CUT = "mapped-pages-cut"
    MAPPED_AREA_CUT = "mapped-area-cut"
    MAPPED_MOVED = "mapped-moved"
    MAPPED_WORD = "mapped-word"

    VMDESC_CUT = "vmdescription-cut"
    VMDESC_LEN = "vmdescription-len"

    COMMAND_NUMBER = "command-number"
    COMMAND_LEN = "command-len"
    ADVISE_LEN = "advise-len"
    DISCARD_LEN = "discard-len"
    RECV_BITMAP_LEN = "recv-bitmap-len"
    PACKAGE_IN_PACKAGE = "package-in-package"
    PACKAGE_CUT = "package-cut"

    STREAM_MAGIC = "stream-magic"
    LIBVIRT_VERSION = "libvirt-version"
    LIBVIRT_DATA_LEN = "libvirt-data-len"
    LIBVIRT_FORMAT = "libvirt-format"
    LIBVIRT_STREAM = "libvirt-stream"
    LIBVIRT_UNFINISHED = "libvirt-unfinished"
    COMPRESSED_DATA = "compressed-data"

    CHANNEL_VERSION = "channel-version"
    CHANNEL_CUT = "channel-cut"
    PACKET_MAGIC = "packet-magic"
    PACKET_VERSION = "packet-version"
    PACKET_ALLOC = "packet-alloc"
    PACKET_NORMAL = "packet-normal"
    PACKET_ZERO = "packet-zero"
    PACKET_BLOCK = "packet-block"
    PACKET_OFFSET = "packet-offset"
    PACKET_ALIGNMENT = "packet-alignment"
    PACKET_METHOD = "packet-method"
    PACKET_METHOD_CHANGED = "packet-method-changed"
    PACKET_SIZE = "packet-size"
    PACKET_SIZE_LIMIT = "packet-size-limit"
    PAYLOAD_BROKEN = "payload-broken"
    PAYLOAD_LEN = "payload-len"
    PAGE_LENGTHS = "page-lengths"
    DEVICE_STATE_NAME = "device-state-name"
    DEVICE_STATE_EMPTY = "device-state-empty"
