"""How long anything may take over a damaged file."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

# The slowest case takes one second of a processor. Others may keep the processors busy, so that the
# clock on the wall has a bound of its own, for what waits without working.
MOST_PROCESSOR_SECONDS = 5.0
MOST_SECONDS = 120.0


@contextmanager
def soon() -> Iterator[None]:
    """Check that what is done in the context neither hangs nor takes long."""
    begun, worked = time.monotonic(), time.process_time()
    yield
    assert time.process_time() - worked < MOST_PROCESSOR_SECONDS
    assert time.monotonic() - begun < MOST_SECONDS
