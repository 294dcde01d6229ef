"""A decoder without memory says nothing of its data, so nothing is said of the file either."""

import zlib

import pytest
import zstandard

from qmig.pages.lack_of_memory import raise_lack_of_memory


@pytest.mark.parametrize(
    "error",
    [
        zstandard.ZstdError("zstd decompressor error: Allocation error : not enough memory"),
        zlib.error("Error -4 while decompressing data"),
    ],
)
def test_lack_of_memory_is_told_as_such(error: Exception) -> None:
    with pytest.raises(MemoryError):
        raise_lack_of_memory(error)


def error_of(codec: str, data: bytes) -> Exception:
    try:
        if codec == "zlib":
            zlib.decompress(data)
        else:
            zstandard.ZstdDecompressor(max_window_size=1 << 20).decompressobj().decompress(data)
    except (zlib.error, zstandard.ZstdError) as error:
        return error
    raise AssertionError("it is not broken")


@pytest.mark.parametrize(
    ("codec", "data"),
    [
        ("zlib", b"\x78\x9c" + b"\xff" * 50),
        ("zstd", b"\x28\xb5\x2f\xfd" + b"\xff" * 50),
        ("zstd", b"\x28\xb5\x2f\xfd\x00\xf8" + bytes(50)),  # a window above the ceiling
    ],
)
def test_broken_data_is_left_to_the_caller(codec: str, data: bytes) -> None:
    raise_lack_of_memory(error_of(codec, data))
