"""Numbered rules over a capture: what is wrong with it, where, and what a QEMU says to it."""
