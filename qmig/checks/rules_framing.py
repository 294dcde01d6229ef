"""QM0xx: the file header, sections, footers, configuration, commands."""

from __future__ import annotations

from typing import Final

from qmig.checks.rule import UNKNOWN_SECTION, Outcome, Rule, Severity
from qmig.checks.rules_commands import RULES as COMMAND_RULES
from qmig.faults import Fault

_ERROR: Final = Severity.ERROR
_REFUSES: Final = Outcome.REFUSES

_FRAMING: Final[tuple[Rule, ...]] = (
    Rule(
        "QM001",
        "begin with QEVM",
        _ERROR,
        "The first four bytes tell a migration stream from everything else. What stands behind "
        "them here looks like one, so they may have been overwritten.",
        "migration/savevm.c: qemu_loadvm_state_header, 10.0",
        _REFUSES,
        "Not a migration stream",
        frozenset({Fault.STREAM_MAGIC}),
    ),
    Rule(
        "QM002",
        "carry version 3",
        _ERROR,
        "All QEMUs since 2009 write version 3. The rest of the file is judged as if it were.",
        "migration/savevm.c: qemu_loadvm_state_header, 10.0",
        _REFUSES,
        "Unsupported migration stream version",
        frozenset({Fault.FILE_VERSION}),
    ),
    Rule(
        "QM003",
        "not carry the obsolete version 2",
        _ERROR,
        "Version 2 is that of QEMU before 0.12. Nothing reads it any more.",
        "migration/savevm.c: qemu_loadvm_state_header, 10.0",
        _REFUSES,
        "SaveVM v2 format is obsolete and don't work anymore",
        frozenset({Fault.OLD_FILE_VERSION}),
    ),
    Rule(
        "QM004",
        "have the configuration section directly behind the file header",
        _ERROR,
        "Machine types of 2.4 and later send it unless `migration.send-configuration` is off; a "
        "stream whose vmdescription describes a configuration had one.",
        "migration/savevm.c: qemu_loadvm_state_header, qemu_savevm_state_header, 10.0",
        _REFUSES,
        "Configuration section missing",
        frozenset({Fault.CONFIGURATION_MISSING}),
    ),
    Rule(
        "QM005",
        "record target page bits from 8 to 16",
        _ERROR,
        "No target has smaller or larger pages. Each QEMU takes no other number than its own, and "
        "prints both.",
        "migration/savevm.c: configuration_post_load, 10.0",
        _REFUSES,
        None,
        frozenset({Fault.TARGET_PAGE_BITS}),
    ),
    Rule(
        "QM006",
        "list capabilities that QEMU knows",
        _ERROR,
        "A QEMU refuses a name that is not one of its migration capabilities. Names of "
        "capabilities that later releases removed are taken for known here.",
        "migration/savevm.c: get_capability, 10.0; qapi/migration.json: MigrationCapability",
        _REFUSES,
        "Received unknown capability {name}",
    ),
    Rule(
        "QM007",
        "have no other subsections in the configuration than QEMU's three",
        _ERROR,
        "They are target-page-bits, capabilities and uuid. A QEMU fails at any other with -2 and "
        "says nothing; at a name that does not begin with `configuration/` it stops to read "
        "subsections, and takes this one for an element.",
        "migration/savevm.c: vmstate_configuration; migration/vmstate.c: "
        "vmstate_subsection_load, 10.0",
        _REFUSES,
        "Unknown savevm section type 5",
        frozenset({Fault.CONFIGURATION_SUBSECTION}),
    ),
    Rule(
        "QM008",
        "have version 1 in the configuration's subsections",
        _ERROR,
        "There has never been another version of them. QEMU keeps the low byte of the version, and "
        "compares that.",
        "migration/vmstate.c: vmstate_subsection_load, vmstate_load_state, 10.0",
        _REFUSES,
        "{name}: incoming version_id {version} is too {than}",
        frozenset({Fault.SUBSECTION_VERSION}),
    ),
    Rule(
        "QM009",
        "record the capability mapped-ram where its RAM is mapped, and only there",
        _ERROR,
        "A destination compares the recorded capability with its own before it reads the RAM, so "
        "one that has it as the RAM is refuses the record. The RAM is judged as it is.",
        "migration/savevm.c: configuration_validate_capabilities, 10.0",
        _REFUSES,
        "Capability mapped-ram is {local}, but received capability is {received}",
        frozenset({Fault.CAPABILITY_MAPPED}),
    ),
    Rule(
        "QM010",
        "consist of sections and commands up to EOF",
        _ERROR,
        "An element begins with 1 to 4 (a section), 8 (a command) or 0 (EOF). Anything else means "
        "that the element before it ended elsewhere, or that this byte was overwritten.",
        "migration/savevm.c: qemu_loadvm_state_main, 10.0",
        _REFUSES,
        "Unknown savevm section type {type}",
        frozenset({Fault.ELEMENT_TYPE}),
    ),
    Rule(
        "QM011",
        "open each section by a START or FULL before its PART or END",
        _ERROR,
        "PART and END name their handler by the id alone that an earlier header of the same "
        "stream gave it. The id 0 is that of each handler without a section so far: QEMU gives the "
        "section to the first of them, which refuses it as too old.",
        "migration/savevm.c: qemu_loadvm_section_part_end, 10.0",
        _REFUSES,
        "Unknown savevm section {section_id}",
        frozenset({Fault.SECTION_ID}),
    ),
    Rule(
        "QM012",
        "name sections in plain text",
        _ERROR,
        "No device has a name that is no UTF-8 or holds control characters: the header is damaged.",
        "migration/savevm.c: qemu_loadvm_section_start_full, find_se, 10.0",
        _REFUSES,
        UNKNOWN_SECTION,
    ),
    Rule(
        "QM013",
        "name the handler of each START and FULL section",
        _ERROR,
        "An empty name is no handler's.",
        "migration/savevm.c: qemu_loadvm_section_start_full, 10.0",
        _REFUSES,
        "Unable to read ID string for section {section_id}",
        frozenset({Fault.SECTION_NAME}),
    ),
    Rule(
        "QM014",
        "name the machine with the characters that machine types have",
        _ERROR,
        "Machine types consist of letters, digits, dots, dashes, plus signs and underscores. A "
        "QEMU compares the name with the beginning of its own machine's, as far as it goes, and "
        "prints both where they differ. So it takes an empty one.",
        "migration/savevm.c: configuration_post_load, 10.0",
        _REFUSES,
        None,
        frozenset({Fault.MACHINE_NAME}),
    ),
    Rule(
        "QM015",
        "open rounds of handlers that have them",
        _ERROR,
        "A START section is of one of few handlers: `ram`, `dirty-bitmap`, `spapr/htab`, "
        "`s390-storage_attributes`, those of VFIO devices, and `block` up to 9.0. Under any other "
        "name the header is damaged, or the type of an element before it.",
        "migration/savevm.c: qemu_loadvm_section_start_full, qemu_savevm_state_setup, 10.0",
        _REFUSES,
        UNKNOWN_SECTION,
    ),
    Rule(
        "QM016",
        "have version 4 of the `ram` section",
        _ERROR,
        "It has been 4 since 2009, and everything in the section depends on it.",
        "migration/ram.c: ram_load, ram_mig_init; migration/savevm.c: "
        "qemu_loadvm_section_start_full, 10.0",
        _REFUSES,
        "savevm: unsupported version {version} for 'ram' v4",
        frozenset({Fault.RAM_VERSION}),
    ),
    Rule(
        "QM017",
        "end each section with a footer, or none of them",
        _ERROR,
        "A footer is 7e and the section's id. Where other sections have one and this has not, "
        "either the footer was overwritten, or the body is longer or shorter than it should be.",
        "migration/savevm.c: check_section_footer, 10.0",
        _REFUSES,
        "Missing section footer for {idstr}",
        frozenset({Fault.FOOTER_MISSING}),
    ),
    Rule(
        "QM018",
        "repeat the section's own id in its footer",
        _ERROR,
        "The footer tells which section ends here, and it is not the one that began.",
        "migration/savevm.c: check_section_footer, 10.0",
        _REFUSES,
        "Mismatched section id in footer for {idstr} - read 0x{read:x} expected 0x{expected_id:x}",
        frozenset({Fault.FOOTER_ID}),
    ),
    Rule(
        "QM019",
        "not end inside a record or before EOF",
        _ERROR,
        "The file is cut short, or its save was not finished. What came before can be read.",
        "migration/qemu-file.c: qemu_get_error; migration/savevm.c: qemu_loadvm_state_main, 10.0",
        _REFUSES,
        "load of migration failed: Input/output error",
        frozenset({Fault.DATA_END}),
    ),
    Rule(
        "QM020",
        "have nothing but a vmdescription behind EOF",
        Severity.WARNING,
        "A QEMU that expects a vmdescription there complains and goes on. Other tools take what "
        "stands there for one.",
        "migration/savevm.c: qemu_loadvm_state, 10.0",
        Outcome.LOADS,
        "Expected vmdescription section, but got {type}",
    ),
    Rule(
        "QM021",
        "have EOF behind all sections and commands",
        _ERROR,
        "A byte of EOF stands where the type of a header should be, with the rest of the header "
        "behind it. QEMU takes it for the end: what follows, devices or RAM, keeps the state of "
        "a reset. The byte must be the type that is told.",
        "migration/savevm.c: qemu_loadvm_state_main, qemu_loadvm_state, 10.0",
        Outcome.LOADS_WRONG,
        "Expected vmdescription section, but got {type}",
        frozenset({Fault.EOF_EARLY}),
    ),
    Rule(
        "QM022",
        "have nothing behind the vmdescription",
        Severity.NOTE,
        "QEMU does not look at it. It may be padding, what was left of an older file, or data of "
        "the container.",
        "migration/savevm.c: qemu_loadvm_state, 10.0",
        Outcome.LOADS,
    ),
    Rule(
        "QM025",
        "send each handler's FULL section once",
        Severity.WARNING,
        "The second one overwrites what the first one loaded. `slirp` is let off: up to 7.2 each "
        "user-mode network is saved under one name and instance.",
        "migration/savevm.c: qemu_loadvm_section_start_full, 10.0",
        Outcome.LOADS,
    ),
    Rule(
        "QM026",
        "send nothing of a handler behind its END",
        Severity.WARNING,
        "A QEMU loads a PART or END that comes after the END, but none sends it.",
        "migration/savevm.c: qemu_loadvm_section_part_end, qemu_savevm_state_complete_precopy, "
        "10.0",
        Outcome.LOADS,
    ),
    Rule(
        "QM090",
        "stay below the ceilings of this tool",
        _ERROR,
        "A length or count is far above what any QEMU writes (`qmig/limits.py` tells each with "
        "its reason). It is not believed, so that nothing is allocated for it.",
        "no QEMU has this limit",
        Outcome.NOT_ASKED,
        None,
        frozenset({Fault.LIMIT}),
    ),
    Rule(
        "QM099",
        "hold nothing that the format does not allow",
        _ERROR,
        "What stands there cannot be read, for a reason that no other rule names; the finding "
        "tells it.",
        "the handler that the record belongs to",
        _REFUSES,
        None,
        frozenset({Fault.OTHER}),
    ),
)

RULES: Final[tuple[Rule, ...]] = _FRAMING + COMMAND_RULES
