"""Tell a decoder that found no memory from one that found its data broken."""

from __future__ import annotations

_NO_MEMORY = ("Error -4 ", "not enough memory")  # zlib's Z_MEM_ERROR, zstd's memory_allocation


def raise_lack_of_memory(error: Exception) -> None:
    """Raise what a decoder's error is where it says nothing of the data; else return.

    zlib and zstd give the lack of memory the exception that they give broken data.

    Raises:
        MemoryError: the decoder got no memory.
    """
    if any(text in str(error) for text in _NO_MEMORY):
        raise MemoryError(str(error)) from error
