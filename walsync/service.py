"""One process: the pipeline, the HTTP server, signals, and the exit code."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Final

import structlog

from walsync.config import Config
from walsync.http.server import serve
from walsync.logs import Logger
from walsync.metrics import Metrics
from walsync.observer import Observer
from walsync.pipeline import Pipeline

DONE: Final = 0
NOT_CAUGHT_UP: Final = 3
INTERRUPTED: Final = 130

_THREADS: Final = 8  # the reader, the source's session, what a cancelled call still occupies
_THREADS_PER_TARGET: Final = 2

log: Logger = structlog.get_logger()


async def run(config: Config, *, until_caught_up: bool = False, timeout: float | None = None) -> int:  # noqa: ASYNC109
    """Keep the targets in step until SIGTERM or SIGINT, or until they have caught up; return the exit code."""
    # A target may wait in a thread of its own, for a slot or a COPY: none of them may take the reader's. Python's
    # default is 4 more than the cores.
    threads = ThreadPoolExecutor(_THREADS + _THREADS_PER_TARGET * len(config.targets), thread_name_prefix="walsync")
    asyncio.get_running_loop().set_default_executor(threads)
    metrics = Metrics()
    pipeline = Pipeline(config, metrics)
    async with serve(config.http, Observer(pipeline), metrics), _signals(pipeline):
        running = asyncio.create_task(pipeline.run())
        if not until_caught_up:
            await running
            return DONE
        try:
            return await _run_until_caught_up(pipeline, running, timeout)
        finally:
            running.cancel()


async def _run_until_caught_up(pipeline: Pipeline, running: asyncio.Task[None], timeout: float | None) -> int:  # noqa: ASYNC109
    catching_up = asyncio.create_task(pipeline.wait_until_caught_up())
    done, _ = await asyncio.wait([catching_up, running], timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    catching_up.cancel()
    pipeline.stop()
    await running
    if catching_up in done:
        catching_up.result()
        return DONE
    if running in done:
        return DONE
    log.error("not_caught_up", timeout_seconds=timeout)
    return NOT_CAUGHT_UP


@asynccontextmanager
async def _signals(pipeline: Pipeline) -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()
    interrupted = False

    def interrupt() -> None:
        nonlocal interrupted
        if interrupted:
            # The targets roll back what they have not committed: leaving at once loses nothing.
            os._exit(INTERRUPTED)
        interrupted = True
        pipeline.stop()

    loop.add_signal_handler(signal.SIGTERM, pipeline.stop)
    loop.add_signal_handler(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        loop.remove_signal_handler(signal.SIGINT)
