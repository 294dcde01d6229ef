"""Ceilings that are applied before a length or count from a stream is believed.

Each has its reason. They are far above what a real QEMU writes and far below what hurts.
"""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

# vl.c allows machine names of any length; the longest of QEMU's own has 27 characters.
MAX_MACHINE_NAME_LEN: Final = 255

# QEMU knows about 30 capabilities, of which it records two; the count field is 32 bits wide.
MAX_CAPABILITIES: Final = 1024

# A vmdescription of a machine with 255 vCPUs and 30 devices has 4 MiB; QEMU's script looks at the
# last 10 MB of a file only, so nobody has seen a larger one survive.
MAX_VMDESC_LEN: Final = 32 * MIB

# The JSON of one device: a virtio-gpu with its resources has some 100 KiB. Decoding takes about 20
# times as much memory.
MAX_DEVICE_DESCRIPTION_LEN: Final = 2 * MIB

# Blocks of RAM: one for each DIMM (256), each PCI ROM and video memory (some per device).
MAX_RAM_BLOCKS: Final = 16384

# 2**56 bytes: four times the physical address space of any CPU that QEMU emulates.
MAX_BLOCK_LEN: Final = 1 << 56

# Sections that are kept one by one (FULL and START); PART and END are folded by handler.
# A pc with 255 vCPUs has 1,300.
MAX_SECTIONS: Final = 50_000

# Commands that are kept one by one. A postcopy migration sends a few DISCARDs for each block.
MAX_COMMANDS: Final = 50_000

# Bytes of one device section that are searched for its footer, where nothing else tells its end.
# A virtio-gpu with its resources, and a VFIO device with internal memory, can be this large.
MAX_OPAQUE_SECTION_LEN: Final = 4096 * MIB

# How much behind the first device section is searched for the vmdescription.
VMDESC_SEARCH_LEN: Final = 96 * MIB

# Ranges of a POSTCOPY_RAM_DISCARD that are kept; QEMU sends 12 at most.
MAX_DISCARD_RANGES: Final = 12

# Channels: the id is one byte.
MAX_CHANNELS: Final = 256

# Page count of a 3.x packet: x-multifd-page-count, 16 unless set by hand.
MAX_PACKET_2018_PAGES: Final = 10_000

# A compressed packet: zlib and zstd can grow incompressible data by far less than 2 times, and a
# packet holds MULTIFD_PACKET_SIZE bytes of pages (512 KiB).
MAX_PACKET_PAYLOAD_LEN: Final = 2 * MIB

# A device-state packet; VFIO sends 1 MiB at a time (VFIO_MIG_DEFAULT_DATA_BUFFER_SIZE).
MAX_DEVICE_STATE_PACKET_LEN: Final = 256 * MIB

# A zstd frame may ask its decoder for this window; multifd-zstd-level 20 asks for 128 MiB.
MAX_ZSTD_WINDOW_LEN: Final = 128 * MIB

# The domain XML with its cookie in a libvirt image; libvirt itself pads with 64 KiB.
MAX_LIBVIRT_DATA_LEN: Final = 64 * MIB

# Leading zero bytes that are searched for a stream (`file:PATH,offset=N`).
MAX_STREAM_START_OFFSET: Final = 256 * MIB

# A wrapper inside a wrapper (a libvirt image in a .gz); no one has more than two.
MAX_CONTAINER_DEPTH: Final = 4

# An lzop block: the tool writes 256 KiB ones. LZO can grow 255 times, and a decoder has no bound.
MAX_LZOP_BLOCK_LEN: Final = 256 * KIB

# Bytes of a pipe or decompressor kept in memory so that a reader can look back; more than that
# goes to a temporary file.
RETAINED_IN_MEMORY_LEN: Final = 16 * MIB

# Separate ranges of a block kept for the count of pages that were sent again; a real stream comes
# in few ranges, for its first round goes through each block in order.
MAX_SEEN_RANGES: Final = 200_000

# Runs of pages kept for random access to RAM: 41 bytes each. An ordinary save of a guest of 1 TiB
# has some millions.
MAX_PAGE_RUNS: Final = 16_000_000

# Records and runs of pages that a survey keeps as objects so that the stream need not be walked
# again: some 250 bytes each. A guest of 2 GiB has 15,000, so this does for most.
MAX_KEPT_ITEMS: Final = 100_000

# Findings of one rule that are kept, the others are counted: a person reads a few, and a stream in
# which something goes wrong for each page has millions.
MAX_FINDINGS_OF_A_RULE: Final = 100

# Places behind which a walk goes on in a damaged stream. Each costs a search for the next footer.
MAX_DAMAGED_PLACES: Final = 1000

# Packets of a multifd set whose numbers and SYNCs are compared: a guest of 2 TiB has as many in its
# first round; 16 bytes are kept of each.
MAX_JUDGED_PACKETS: Final = 4_000_000

# Runs of pages of a multifd set that are compared for pages that come twice between two syncs; the
# comparison takes 80 bytes of each.
MAX_JUDGED_PAGE_RUNS: Final = 2_000_000

# Ranges of unknown pages that a salvaged stream lists: 16 bytes each. A file cut short has one for
# each block; what is known is told by the page records in any case.
MAX_SALVAGED_RANGES: Final = 65_536

# Sections and commands that a salvage keeps one by one, 300 bytes each; PARTs of RAM are folded. A
# guest with dirty bitmaps, or with a hash table on POWER, has a PART of each in every round.
MAX_SALVAGED_SECTIONS: Final = 200_000

# Fields of one device as objects, 150 bytes each: a SCSI controller with full queues has some
# thousands, a virtio-net (with 1,024 queues, used or not) 6,000.
MAX_DEVICE_FIELDS: Final = 200_000

# Bytes of one array of numbers; the longest of QEMU's own are bitmaps of some 100 KiB.
MAX_DEVICE_NUMBERS_LEN: Final = 16 * MIB

# Structs in structs, subsections in subsections: QEMU's own go eight deep.
MAX_DEVICE_NESTING: Final = 64

# Bytes of a virtio device's state that is taken apart, in which subsections are searched for:
# 45 KiB and what the device has of its own, 48 KiB for each request that waits. What has more, as
# the state of another process (virtio-fs), stays one piece.
MAX_VIRTIO_STATE_LEN: Final = 16 * MIB

# Bytes of device sections that are kept until the vmdescription behind them is read. A machine with
# 255 vCPUs and 30 devices has 5 MiB; a virtio-gpu with its resources has more, and is not looked
# at.
MAX_KEPT_BODIES_LEN: Final = 16 * MIB

# Fields of one device that differ and are kept, the others are counted: a device of another layout
# differs in thousands.
MAX_FIELD_DIFFERENCES: Final = 10_000

# Ranges of pages of one block that differ and are kept, the others are counted: a guest that ran
# for a second leaves thousands.
MAX_DIFFERING_RANGES: Final = 65_536

# Blocks of 4 KiB of what a live section comes to that are held: a guest of 8 GiB on POWER has a
# hash table of 64 MiB. What has more is compared as the bytes that were sent.
MAX_LIVE_CONTENT_BLOCKS: Final = 16_384

# How often such a block is touched: six bytes can clear a MiB.
MAX_LIVE_CONTENT_STEPS: Final = 10_000_000
