"""QM4xx: device sections and the vmdescription."""

from __future__ import annotations

from typing import Final

from qmig.checks.rule import UNKNOWN_SECTION, Outcome, Rule, Severity
from qmig.faults import Fault

_ERROR: Final = Severity.ERROR
_WARNING: Final = Severity.WARNING
_REFUSES: Final = Outcome.REFUSES
_LOADS: Final = Outcome.LOADS
_DESCRIBE: Final = "migration/savevm.c: qemu_savevm_state_complete_precopy_non_iterable, 10.0"
_SKIPPED: Final = "migration/savevm.c: qemu_loadvm_state, 10.0 (reads over it)"
_FIELDS: Final = "migration/vmstate.c: vmsd_desc_field_start, vmsd_desc_field_end, 10.0"
_SUBSECTION: Final = "migration/vmstate.c: vmstate_subsection_load, 10.0"

_VMDESCRIPTION: Final[tuple[Rule, ...]] = (
    Rule(
        "QM401",
        "hold the whole vmdescription",
        _WARNING,
        "The file ends before the length of the vmdescription says. All RAM and all devices are "
        "there, and QEMU restores them; tools that need the description fail.",
        _SKIPPED,
        _LOADS,
        None,
        frozenset({Fault.VMDESC_CUT}),
    ),
    Rule(
        "QM402",
        "have a vmdescription of at most 32 MiB",
        _WARNING,
        "A machine with 255 vCPUs has 4 MiB. QEMU reads over any length; qmig does not believe "
        "this one.",
        _SKIPPED,
        _LOADS,
        None,
        frozenset({Fault.VMDESC_LEN}),
    ),
    Rule(
        "QM403",
        "have a vmdescription that is the JSON text of one",
        _WARNING,
        "It cannot be parsed, or lacks what each has. QEMU never looks into it.",
        f"{_DESCRIBE}; {_SKIPPED}",
        _LOADS,
    ),
    Rule(
        "QM404",
        "tell the target page size in the vmdescription, the same as elsewhere",
        _WARNING,
        "The configuration, the mapped-ram headers or POSTCOPY_ADVISE tell another one, or none "
        "is told. qmig reads pages by the more trustworthy one.",
        _DESCRIBE,
        _LOADS,
    ),
    Rule(
        "QM405",
        "describe each FULL section in the vmdescription",
        _WARNING,
        "A section has no entry, so nothing but its footer tells where it ends. It may have been "
        "put in behind QEMU's back; or its header or the description is damaged, and where it is "
        "the header, QEMU refuses the section as one of an unknown device.",
        _DESCRIBE,
        _LOADS,
    ),
    Rule(
        "QM406",
        "have a section for each device in the vmdescription",
        _ERROR,
        "The section of a described device is not in the stream: it keeps the state that it has "
        "after a reset when this is restored.",
        _DESCRIBE,
        Outcome.LOADS_WRONG,
    ),
    Rule(
        "QM407",
        "describe devices in the order of their sections",
        _WARNING,
        "Entries are written with the sections. Something has moved one or the other.",
        _DESCRIBE,
        _LOADS,
    ),
    Rule(
        "QM408",
        "have sizes in the vmdescription that fit each other",
        _WARNING,
        "A field has no size, one that its type cannot have, or another one than its parts add up "
        "to. QEMU never looks into it.",
        _FIELDS,
        _LOADS,
    ),
)

_DEVICES: Final[tuple[Rule, ...]] = (
    Rule(
        "QM410",
        "have device sections as long as the vmdescription says",
        _ERROR,
        "The body between header and footer is longer or shorter than the sum of its fields, and "
        "the description is sound in itself. QEMU reads by the fields, so it misses the footer.",
        "migration/savevm.c: check_section_footer, 10.0",
        _REFUSES,
        "Missing section footer for {idstr}",
    ),
    Rule(
        "QM411",
        "have no section of a version above the one that the vmdescription tells",
        _ERROR,
        "The description names the version that the QEMU which wrote it has. Such a QEMU refuses "
        "the section.",
        "migration/savevm.c: qemu_loadvm_section_start_full, 10.0",
        _REFUSES,
        "savevm: unsupported version {version} for '{idstr}' v{described}",
    ),
    Rule(
        "QM412",
        "have no section of a version below the one that the vmdescription tells",
        _ERROR,
        "The body has the layout of the newer version. A QEMU that still reads the older one looks "
        "for other fields and misses the footer; one that does not says `is too old for local "
        "minimum version_id`.",
        "migration/vmstate.c: vmstate_load_state, 10.0",
        _REFUSES,
    ),
    Rule(
        "QM413",
        "hold in a section the subsections that the vmdescription tells",
        _ERROR,
        "Where the description has a subsection, something else stands in the section. QEMU "
        "refuses a name or a version that it does not know.",
        _SUBSECTION,
        _REFUSES,
    ),
    Rule(
        "QM414",
        "begin the name of a subsection with that of what it belongs to",
        _ERROR,
        "QEMU stops to read subsections at such a name, so it misses the footer.",
        _SUBSECTION,
        _REFUSES,
        "Missing section footer for {idstr}",
    ),
    Rule(
        "QM417",
        "name in each section the device that the vmdescription has in its place",
        _ERROR,
        "The description is sound there: it has the device's own name twice. So the header of the "
        "section is damaged; with the name from the description it can be restored.",
        f"migration/savevm.c: find_se, qemu_loadvm_section_start_full; {_DESCRIBE}",
        _REFUSES,
        UNKNOWN_SECTION,
    ),
    Rule(
        "QM415",
        "name a run state of QEMU in globalstate",
        _ERROR,
        "The section tells whether the guest ran, by a name that ends in a NUL.",
        "system/globalstate.c: global_state_post_load, 10.0; qapi/run-state.json: RunState",
        _REFUSES,
        "invalid parameter value: {state}",
    ),
    Rule(
        "QM416",
        "hold a guest that is whole, and not what was salvaged of one",
        _ERROR,
        "The section says that `qmig salvage` made the stream of a damaged one, and what is "
        "missing in it. No QEMU knows the section; without it, pages that are missing would be "
        "zeros after the load, and devices as after a reset.",
        "migration/savevm.c: qemu_loadvm_section_start_full, 10.0",
        _REFUSES,
        UNKNOWN_SECTION,
    ),
)

_LOAD_BITMAP: Final = "migration/block-dirty-bitmap.c: dirty_bitmap_load_start, 10.0"

_DIRTY_BITMAPS: Final[tuple[Rule, ...]] = (
    Rule(
        "QM420",
        "set known flags of a dirty bitmap only",
        _ERROR,
        "Bit 0 says that the bitmap is enabled, bit 1 that it is persistent, and bit 2 is taken. "
        "The other five have no meaning.",
        _LOAD_BITMAP,
        _REFUSES,
        "Unknown flags in migrated dirty bitmap header: {flags:x}",
    ),
    Rule(
        "QM421",
        "give a dirty bitmap a granularity that is a power of two, 512 at least",
        _ERROR,
        "It is the number of bytes of the disk that one bit stands for. A destination creates the "
        "bitmap with it, and ends in an assertion.",
        f"{_LOAD_BITMAP}; block/dirty-bitmap.c: bdrv_create_dirty_bitmap",
        Outcome.CRASHES,
    ),
    Rule(
        "QM422",
        "begin the bits of a dirty bitmap at a whole word of them",
        _ERROR,
        "Bits are carried in words of 64, so a chunk begins at a multiple of 64 times the "
        "granularity. A destination ends in an assertion.",
        "migration/block-dirty-bitmap.c: dirty_bitmap_load_bits; util/hbitmap.c: "
        "serialization_chunk, 10.0",
        Outcome.CRASHES,
    ),
)

RULES: Final[tuple[Rule, ...]] = _VMDESCRIPTION + _DEVICES + _DIRTY_BITMAPS
