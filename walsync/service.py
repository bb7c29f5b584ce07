"""One process: the pipeline, the HTTP server, signals, and the exit code."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Final

import structlog

from walsync.config import Config
from walsync.errors import WalsyncError
from walsync.http.server import serve
from walsync.interpreter import settled
from walsync.logs import Logger
from walsync.metrics import Metrics
from walsync.observer import Observer
from walsync.pipeline import Pipeline

DONE: Final = 0
NOT_CAUGHT_UP: Final = 3
INTERRUPTED: Final = 130

_THREADS: Final = 8  # the reader, the source's session, what a cancelled call still occupies
_THREADS_PER_TARGET: Final = 2
_TARGETS_LATER: Final = 32  # those that a reload may bring; a thread is made when it is needed

log: Logger = structlog.get_logger()


class Control:
    """What a running process is asked to do, by a signal or over HTTP."""

    def __init__(self, pipeline: Pipeline, read: Callable[[], Config]) -> None:
        self._pipeline = pipeline
        self._read = read
        self._one_at_a_time = asyncio.Lock()

    async def reload(self) -> None:
        """Take the file as it is now; where it cannot be taken, raise WalsyncError and go on with the present one."""
        async with self._one_at_a_time:
            try:
                await self._pipeline.reload(self._read())
            except WalsyncError as error:
                log.warning("reload_refused", code=error.code, error=error.message, hint=error.hint)
                raise

    def copy_again(self, target: str | None, table: str | None) -> dict[str, list[str]]:
        """Copy tables once more; raises WalsyncError where there is no such target or table."""
        return self._pipeline.copy_again(target, table)


async def run(
    config: Config,
    *,
    read: Callable[[], Config] | None = None,
    until_caught_up: bool = False,
    timeout: float | None = None,  # noqa: ASYNC109
) -> int:
    """Keep the targets in step until SIGTERM or SIGINT, or until they have caught up; return the exit code.

    `read` gives the configuration as it is later, when it is to be taken again; without it, it stays the same.
    """
    # A target may wait in a thread of its own, for a slot or a COPY: none of them may take the reader's. Python's
    # default is 4 more than the cores.
    targets = max(len(config.targets), _TARGETS_LATER)
    threads = ThreadPoolExecutor(_THREADS + _THREADS_PER_TARGET * targets, thread_name_prefix="walsync")
    asyncio.get_running_loop().set_default_executor(threads)
    metrics = Metrics()
    pipeline = Pipeline(config, metrics)
    control = Control(pipeline, read or (lambda: config))
    async with settled(), serve(config.http, Observer(pipeline), metrics, control), _signals(pipeline, control):
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
async def _signals(pipeline: Pipeline, control: Control) -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()
    interrupted = False
    reloading: set[asyncio.Task[None]] = set()

    def take_again() -> None:
        task = asyncio.create_task(control.reload())
        reloading.add(task)
        task.add_done_callback(_look_at)
        task.add_done_callback(reloading.discard)

    def interrupt() -> None:
        nonlocal interrupted
        if interrupted:
            # The targets roll back what they have not committed: leaving at once loses nothing.
            os._exit(INTERRUPTED)
        interrupted = True
        pipeline.stop()

    loop.add_signal_handler(signal.SIGTERM, pipeline.stop)
    loop.add_signal_handler(signal.SIGINT, interrupt)
    loop.add_signal_handler(signal.SIGHUP, take_again)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # one that came early comes now
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(number)
        for task in reloading:
            task.cancel()


def _look_at(task: asyncio.Task[None]) -> None:
    """Look at the outcome, which the log has said already."""
    if not task.cancelled():
        task.exception()
