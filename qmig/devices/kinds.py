"""What the types of a description stand for in bytes.

Sources (10.0): migration/vmstate-types.c (the common ones), migration/savevm.c (timer). The others
are infos that a CPU model keeps for itself: cpsr, fpscr, fpcr, fpsr, powered_off in
target/arm/machine.c; slbe, fpr, avr, vsr, cpu/altivec/vscr in target/ppc/machine.c; fpr, of other
bytes, in target/mips/system/machine.c; fpcr in target/alpha/machine.c; psr, fsr, xcc in
target/sparc/machine.c; psw in target/hppa/machine.c; msr in target/microblaze/machine.c; sr in
target/openrisc/machine.c; sreg, ramp*, eind in target/avr/machine.c.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class IntegerKind(NamedTuple):
    """An integer, big-endian whatever its name says.

    Attributes:
        length: its bytes.
        signed: whether it is below zero with its highest bit set.
    """

    length: int
    signed: bool = False


BOOL: Final = "bool"
TIMER: Final = "timer"
NULLPTR: Final = "nullptr"
UNUSED: Final = "unused_buffer"
BITMAP: Final = "bitmap"
BUFFER: Final = "buffer"
QTAILQ: Final = "qtailq"
QLIST: Final = "qlist"
GTREE: Final = "gtree"
NULLPTR_MARK: Final = 0x30
ELEMENT_MARK: Final = 1
END_MARK: Final = 0

_PLAIN: Final = {
    f"{sign}int{8 * length}": IntegerKind(length, signed=not sign)
    for sign in ("", "u")
    for length in (1, 2, 4, 8)
}
INTEGERS: Final[dict[str, IntegerKind]] = {
    **_PLAIN,
    **{f"{name} equal": kind for name, kind in _PLAIN.items()},
    # "less or equal", not little-endian
    "int32 le": IntegerKind(4, signed=True),
    "timer": IntegerKind(8, signed=True),
    "CPU_Double_U": IntegerKind(8),
    "fd": IntegerKind(4, signed=True),
    "powered_off": IntegerKind(1),
    **{name: IntegerKind(4) for name in ("cpsr", "cpu/altivec/vscr", "msr", "psr", "sr", "xcc")},
    **{name: IntegerKind(8) for name in ("fpcr", "fpsr", "psw", "vsr")},
    **{name: IntegerKind(1) for name in ("rampD", "rampX", "rampY", "rampZ", "eind", "sreg")},
}

# These have one length for some CPUs and another for others; of 16 bytes they are no integers.
_VARYING: Final = frozenset({"fpr", "fpscr", "fsr"})

ARRAY_CODES: Final = {
    (1, False): "B",
    (1, True): "b",
    (2, False): "H",
    (2, True): "h",
    (4, False): "I",
    (4, True): "i",
    (8, False): "Q",
    (8, True): "q",
}


def integer_of(kind: str, size_len: int) -> IntegerKind | None:
    """Return what integer a type stands for; None where it is none.

    Args:
        kind: the type, as the description calls it.
        size_len: bytes of one element, by the description; they tell where a type has several.
    """
    if kind in _VARYING and size_len in (4, 8):
        return IntegerKind(size_len)
    return INTEGERS.get(kind)
