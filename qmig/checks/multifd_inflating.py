"""Decompression of a channel's payloads beside the walk: in a thread of its own."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Final, NamedTuple

from qmig.capture.inflate import SAYS_TOO_FEW, PayloadError, decoder_of
from qmig.capture.source import FileSource
from qmig.limits import MIB

if TYPE_CHECKING:
    from qmig.capture.channel import ChannelWalk, Packet
    from qmig.capture.container import Container

_WAITING: Final = 16  # packets with their payloads, of at most MAX_PACKET_PAYLOAD_LEN each
# Packets whose payloads are read when it is their turn, 5 KiB each, are handed over by the batch.
# So many that the walk can come to the next channel meanwhile, and two are decompressed at once.
_BATCH: Final = 32
_BATCHES: Final = 64
# Memory given back to the system after each payload would be cleared again for the next one. The
# allocator of glibc keeps what is smaller than the largest piece that was ever given back.
_KEPT_LEN: Final = 16 * MIB


class Broken(NamedTuple):
    """What is wrong with a payload.

    Attributes:
        packet: whose payload.
        plain_len: bytes that it must give.
        found_len: bytes that it gives; None where it does not decompress.
        found: what the decompressor says.
        says: how QEMU puts it.
    """

    packet: Packet
    plain_len: int
    found_len: int | None
    found: str
    says: str


class Inflating:
    """Decompresses the payloads of one channel, in their order.

    The decompressors leave Python's lock to others while they work, so that this costs a walk
    little on a machine with two processors. Nothing is kept of the pages.

    Args:
        container: the file.
        walk: the walk over the channel.
        method: a method of `WHOLE_PACKET`.

    Attributes:
        broken: the first payload that is wrong; those behind it are not looked at.
    """

    def __init__(self, container: Container, walk: ChannelWalk, method: int) -> None:
        self.container = container
        self.walk = walk
        self.method = method
        self.broken: Broken | None = None
        self._source = walk.source
        self._decoder = decoder_of(method)
        # What comes once only is read by the walk, which has it at hand.
        self._read_later = isinstance(walk.source, FileSource)
        self._jobs: queue.Queue[list[tuple[Packet, int, bytes]] | None]
        self._jobs = queue.Queue(_BATCHES if self._read_later else _WAITING)
        self._batch: list[tuple[Packet, int, bytes]] = []
        self._error: BaseException | None = None
        bytes(_KEPT_LEN)  # given back at once, and never touched
        self._thread = threading.Thread(target=self._work, name="qmig-inflate", daemon=True)
        self._thread.start()

    def submit(self, packet: Packet, plain_len: int) -> None:
        """Give the next packet; waits while too many are waiting."""
        data = b"" if self._read_later else self._read(packet)
        self._batch.append((packet, plain_len, data))
        if len(self._batch) >= _BATCH or not self._read_later:
            self._hand_over()

    def finish(self) -> None:
        """Wait for all packets.

        Raises:
            SourceError: the file could not be read.
        """
        self._hand_over()
        self._jobs.put(None)
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _hand_over(self) -> None:
        self._jobs.put(self._batch)
        self._batch = []

    def _read(self, packet: Packet) -> bytes:
        return self._source.read_at(packet.payload_offset, packet.payload_len)

    def _work(self) -> None:
        while (batch := self._jobs.get()) is not None:
            try:
                for packet, plain_len, data in batch:
                    if self.broken is None and self._error is None:
                        self.broken = self._inflated(packet, plain_len, data or self._read(packet))
            except BaseException as error:  # raised again by `finish`
                self._error = error

    def _inflated(self, packet: Packet, plain_len: int, data: bytes) -> Broken | None:
        try:
            found_len = len(self._decoder.decode(data, plain_len))
        except PayloadError as error:
            return Broken(packet, plain_len, None, str(error), error.says)
        if found_len == plain_len:
            return None
        says = SAYS_TOO_FEW.get(self.method, "")
        return Broken(packet, plain_len, found_len, str(found_len), says)
