"""How Python itself is set for a process that holds many changes for a short time, and has threads that wait for it."""

import asyncio
import gc
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

_SWITCH_SECONDS: Final = 0.001
"""How long a thread may keep Python while another one waits. Python's default of 5 ms is as long as encoding a request
takes: a target's thread, which needs Python for a moment between two statements, would wait for all of it. Measured on
D1 embedded (bench/d1_embedded.py): 0.66 to 0.76 of the bare loop instead of 0.52 to 0.60."""

_NEW_OBJECTS: Final = 50_000
"""How many objects come before the garbage collector looks at them; it stops all threads for that, 2 ms perhaps."""

_NEVER: Final = 2**30
_COLLECT_SECONDS: Final = 60.0
"""How often it looks at all that is held. By default it does so again and again, where it finds nothing: with a full
backlog 0.1 s each time, 8 % of the time while a target caught up (bench/isolation.py)."""


def settle() -> None:
    """Set the turns of the threads, and have garbage looked for among what is new only."""
    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, _NEVER, _NEVER)


@asynccontextmanager
async def settled() -> AsyncIterator[None]:
    """Do so, and look at everything once a minute; at the end all is as it was."""
    switch_seconds, thresholds = sys.getswitchinterval(), gc.get_threshold()
    settle()
    collecting = asyncio.create_task(_collect())
    try:
        yield
    finally:
        collecting.cancel()
        gc.set_threshold(*thresholds)
        gc.unfreeze()
        sys.setswitchinterval(switch_seconds)


async def _collect() -> None:
    while True:
        await asyncio.sleep(_COLLECT_SECONDS)
        gc.collect()
