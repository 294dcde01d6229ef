"""The frame of the main stream: header, configuration, sections, commands, end.

Grammar (all integers big-endian)::

    stream         FileHeader [configuration] { element }* EOF [VmDescriptionHead json] [rest]
    configuration  ConfigurationRecord { SubsectionHead body }*
    element        SectionHead body [FooterRecord]           START, FULL
                 | PartHead body [FooterRecord]              PART, END
                 | CommandHead payload                       COMMAND

No section has a length. Sources: migration/savevm.c (qemu_savevm_state_header,
save_section_header, save_section_footer, qemu_savevm_command_send), migration/vmstate.c
(vmstate_subsection_save) of QEMU 5.2 to 11.1; the same in all of them, except that commands 8 and
9 of 3.0 became 9 and 10 in 3.1, and that SWITCHOVER_START came with 10.0.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from construct import Bytes, Int8ub, Int16ub, Int32ub, Int64ub

from qmig.limits import MAX_MACHINE_NAME_LEN
from qmig.wire.magic import QEMU_VM_FILE_MAGIC
from qmig.wire.record import COUNTED_STRING, WireRecord, constant, counted32, wire

QEMU_VM_FILE_VERSION: Final = 3
QEMU_VM_FILE_VERSION_COMPAT: Final = 2


class QemuVmSection(IntEnum):
    """First byte of an element. Prefix in QEMU: QEMU_VM_ (migration/savevm.h)."""

    EOF = 0x00
    SECTION_START = 0x01
    SECTION_PART = 0x02
    SECTION_END = 0x03
    SECTION_FULL = 0x04
    SUBSECTION = 0x05
    VMDESCRIPTION = 0x06
    CONFIGURATION = 0x07
    COMMAND = 0x08
    SECTION_FOOTER = 0x7E


class MigCmd(IntEnum):
    """Commands as numbered since 3.1. Prefix in QEMU: MIG_CMD_ (migration/savevm.c)."""

    INVALID = 0
    OPEN_RETURN_PATH = 1
    PING = 2
    POSTCOPY_ADVISE = 3
    POSTCOPY_LISTEN = 4
    POSTCOPY_RUN = 5
    POSTCOPY_RAM_DISCARD = 6
    PACKAGED = 7
    ENABLE_COLO = 8
    POSTCOPY_RESUME = 9
    RECV_BITMAP = 10
    SWITCHOVER_START = 11


# The length that a command must have; None where it varies.
MIG_CMD_LEN: Final[dict[MigCmd, int | None]] = {
    MigCmd.OPEN_RETURN_PATH: 0,
    MigCmd.PING: 4,
    MigCmd.POSTCOPY_ADVISE: None,  # 16, or 0 where only dirty bitmaps go by postcopy
    MigCmd.POSTCOPY_LISTEN: 0,
    MigCmd.POSTCOPY_RUN: 0,
    MigCmd.POSTCOPY_RAM_DISCARD: None,
    MigCmd.PACKAGED: 4,
    MigCmd.ENABLE_COLO: None,  # sent with 0; no QEMU checks it
    MigCmd.POSTCOPY_RESUME: 0,
    MigCmd.RECV_BITMAP: None,
    MigCmd.SWITCHOVER_START: 0,
}


class FileHeader(WireRecord):
    """The first eight bytes of a stream."""

    magic: int = constant(QEMU_VM_FILE_MAGIC, Int32ub, "QEVM")
    version: int = wire(Int32ub, "3; 2 is obsolete and refused")


class SectionHead(WireRecord):
    """Opens a START or FULL section."""

    type: int = wire(Int8ub, "1 START, 4 FULL")
    section_id: int = wire(Int32ub, "chosen by the source; neither dense nor sorted")
    idstr: bytes = wire(COUNTED_STRING, "name of the handler, up to 255 bytes")
    instance_id: int = wire(Int32ub, "tells handlers of one name apart")
    version_id: int = wire(Int32ub, "version of the handler's format")


class PartHead(WireRecord):
    """Opens a PART or END section."""

    type: int = wire(Int8ub, "2 PART, 3 END")
    section_id: int = wire(Int32ub, "the id that a START announced")


class FooterRecord(WireRecord):
    """Closes a section, where the machine has send-section-footer on."""

    mark: int = constant(int(QemuVmSection.SECTION_FOOTER), Int8ub, "section footer")
    section_id: int = wire(Int32ub, "the id of the section that ends here")


class CommandHead(WireRecord):
    """Opens a command."""

    type: int = constant(int(QemuVmSection.COMMAND), Int8ub, "command")
    command: int = wire(Int16ub, "MigCmd")
    len: int = wire(Int16ub, "bytes of payload; the blob behind PACKAGED is not counted")


class EofRecord(WireRecord):
    """Ends the elements of a stream."""

    type: int = constant(int(QemuVmSection.EOF), Int8ub, "end of the elements")


class PingPayload(WireRecord):
    """Payload of PING."""

    value: int = wire(Int32ub, "what the PONG must carry; 1 to 4, or 0x42")


class PostcopyAdvisePayload(WireRecord):
    """Payload of POSTCOPY_ADVISE where RAM goes by postcopy."""

    page_size_summary: int = wire(Int64ub, "OR of the page sizes of all RAM blocks, bytes")
    target_page_size: int = wire(Int64ub, "bytes")


class RamDiscardHead(WireRecord):
    """Payload of POSTCOPY_RAM_DISCARD up to its ranges."""

    version: int = wire(Int8ub, "0")
    block_name: bytes = wire(COUNTED_STRING, "RAM block")
    nul: int = wire(Int8ub, "0")


class RamDiscardRange(WireRecord):
    """One range of POSTCOPY_RAM_DISCARD; at least one, QEMU sends at most 12."""

    start_addr: int = wire(Int64ub, "offset in the block, bytes")
    length: int = wire(Int64ub, "bytes")


class PackagedPayload(WireRecord):
    """Payload of PACKAGED; elements of that length follow."""

    length: int = wire(Int32ub, "bytes of embedded elements behind this command")


class RecvBitmapPayload(WireRecord):
    """Payload of RECV_BITMAP."""

    block_name: bytes = wire(COUNTED_STRING, "RAM block")


class ConfigurationRecord(WireRecord):
    """Opens the configuration section, directly behind the file header; no footer closes it."""

    type: int = constant(int(QemuVmSection.CONFIGURATION), Int8ub, "configuration")
    name: bytes = wire(counted32(max_len=MAX_MACHINE_NAME_LEN), "machine type, never an alias")


class SubsectionHead(WireRecord):
    """Opens a subsection of a device state or of the configuration."""

    type: int = constant(int(QemuVmSection.SUBSECTION), Int8ub, "subsection")
    name: bytes = wire(COUNTED_STRING, "name, by convention parent/x")
    version_id: int = wire(Int32ub, "version")


class TargetPageBits(WireRecord):
    """Body of configuration/target-page-bits."""

    target_page_bits: int = wire(Int32ub, "page size is 1 << bits")


class CapabilitiesHead(WireRecord):
    """Body of configuration/capabilities up to its names."""

    caps_count: int = wire(Int32ub, "number of names")


class CapabilityName(WireRecord):
    """One name in configuration/capabilities."""

    name: bytes = wire(COUNTED_STRING, "capability under its QMP name")


class ConfigurationUuid(WireRecord):
    """Body of configuration/uuid."""

    uuid: bytes = wire(Bytes(16), "UUID of the guest")


class VmDescriptionHead(WireRecord):
    """Opens the vmdescription, behind EOF."""

    type: int = constant(int(QemuVmSection.VMDESCRIPTION), Int8ub, "vmdescription")
    length: int = wire(Int32ub, "bytes of JSON, no NUL")


CONFIGURATION_SUBSECTIONS: Final = (
    b"configuration/target-page-bits",
    b"configuration/capabilities",
    b"configuration/uuid",
)
