r"""Text from outside made harmless: what is no printable character becomes `\x1b` and the like."""

from __future__ import annotations

from typing import Final

_BYTE_SURROGATES: Final = range(0xDC80, 0xDD00)  # how bytes that are not UTF-8 are kept in text


def harmless(text: str) -> str:
    r"""Return text from outside as a terminal may get it.

    Control characters, escape sequences, invisible and undecodable characters become `\x1b` and
    the like.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else escaped(char) for char in text)


def escaped(char: str) -> str:
    r"""Return a character as `\xNN`, `\uNNNN` or `\UNNNNNNNN`."""
    code = ord(char)
    if code in _BYTE_SURROGATES:
        code -= 0xDC00
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
