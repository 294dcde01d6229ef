"""Writing: a guest's memory becomes a stream that a real QEMU restores."""
