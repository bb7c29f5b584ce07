"""The numbers that Prometheus scrapes: counters that the steps increment, and gauges taken from a `Status` at scrape.

Every instance has its own registry. LSNs are values of gauges, never labels.
"""

import time
from collections import Counter as Tally
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Final, Self

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from walsync.status import SlotRoom, SourceState, SourceStatus, Status, TableProgress, TargetState, TargetStatus
from walsync.target.base import Batch
from walsync.transaction.change import Transaction

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

_BATCH_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""From one small commit on a local disk to a batch that fills half a minute."""

_DELAY_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
"""From a change that went straight through to a target that was away for an hour."""

_BATCH_CHANGES: Final = (0, 1, 10, 100, 1_000, 10_000, 100_000)
"""From a checkpoint without rows past the most that a delivery takes at once; one transaction may be larger."""

_KINDS: Final = ("insert", "update", "delete", "truncate")

_WAL_STATUSES: Final = ("reserved", "extended", "unreserved", "lost")
"""The manual's, for pg_replication_slots.wal_status."""

_MICROSECONDS: Final = 1_000_000
_EPOCH_2000: Final = 946_684_800
"""Commit times are microseconds since 2000."""

# Each counter would otherwise bring a second series with its birthday, which nobody asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library leaves it without types


class Metrics:
    """Counters and histograms; label values are given by keyword: ``metrics.target_retries.labels(target=name)``."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._gauges = _Gauges()
        self.registry.register(self._gauges)
        ProcessCollector(registry=self.registry)

        self.transactions_received = self._counter(
            "walsync_transactions_received_total", "Transactions read from the slot."
        )
        self.received_bytes = self._counter("walsync_received_bytes_total", "Bytes of messages read from the slot.")
        self.source_reconnects = self._counter(
            "walsync_source_reconnects_total", "Streams that were started again after one had ended."
        )
        self.source_errors = self._counter(
            "walsync_source_errors_total", "Failed attempts to reach or read the source, by code.", "code"
        )
        self.target_transactions = self._counter(
            "walsync_target_transactions_total", "Source transactions made durable.", "target"
        )
        self.target_changes = self._counter(
            "walsync_target_changes_total", "Row changes made durable.", "target", "kind"
        )
        self.target_batches = self._counter("walsync_target_batches_total", "Batches made durable.", "target")
        self.target_batch_seconds = self._histogram(
            "walsync_target_batch_seconds",
            "Time from handing a batch to a target until it is durable there.",
            _BATCH_SECONDS,
        )
        self.target_batch_changes = self._histogram(
            "walsync_target_batch_changes", "Row changes in a batch.", _BATCH_CHANGES
        )
        self.target_delay_seconds = self._histogram(
            "walsync_target_delay_seconds",
            "Time from the commit on the source until it is durable, of each batch's oldest transaction.",
            _DELAY_SECONDS,
        )
        self.target_retries = self._counter(
            "walsync_target_retries_total", "Attempts that ended with a target away.", "target"
        )
        self.target_errors = self._counter("walsync_target_errors_total", "Errors by their code.", "target", "code")
        self.snapshot_rows = self._counter(
            "walsync_snapshot_rows_total", "Rows copied by snapshots.", "target", "table"
        )
        self.snapshot_bytes = self._counter(
            "walsync_snapshot_bytes_total", "COPY text that snapshots handed to a target.", "target", "table"
        )

    def count_received(self, transactions: Sequence[Transaction], received_bytes: int) -> None:
        """Count what the reader has handed over; keepalives are no transactions."""
        self._gauges.received_at = time.time()
        self.received_bytes.inc(received_bytes)
        self.transactions_received.inc(sum(1 for transaction in transactions if transaction.xid))

    def count_batch(self, target: str, batch: Batch, seconds: float) -> None:
        """Count a batch that has become durable."""
        self.target_batches.labels(target).inc()
        self.target_batch_seconds.labels(target).observe(seconds)
        self.target_transactions.labels(target).inc(len(batch.transactions))
        kinds: Tally[type] = Tally()
        for transaction in batch.transactions:
            kinds.update(map(type, transaction.changes))
        for kind, changes in kinds.items():
            self.target_changes.labels(target, kind.__name__.lower()).inc(changes)
        self.target_batch_changes.labels(target).observe(kinds.total())
        if batch.transactions:
            # One value per batch and not one per transaction, of which there may be 20,000 in a second.
            committed_at = batch.transactions[0].commit_time / _MICROSECONDS + _EPOCH_2000
            self.target_delay_seconds.labels(target).observe(max(0.0, time.time() - committed_at))

    def count_chunks(self, target: str, table: str, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Pass a snapshot's chunks on, and count their bytes while they go."""
        return _CountedChunks(chunks, self.snapshot_bytes.labels(target, table))

    def render(self, status: Status) -> bytes:
        """Write everything in Prometheus' text format, with the gauges of this moment."""
        self._gauges.status = status
        self._begin(target.name for target in status.targets)
        return generate_latest(self.registry)

    def _begin(self, targets: Iterable[str]) -> None:
        """Show each target's counters from 0: of a series that begins at 1 Prometheus cannot tell that it grew."""
        for target in targets:
            for metric in (
                self.target_transactions,
                self.target_batches,
                self.target_batch_seconds,
                self.target_batch_changes,
                self.target_delay_seconds,
                self.target_retries,
            ):
                metric.labels(target)
            for kind in _KINDS:
                self.target_changes.labels(target, kind)

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(name, documentation, labels, registry=self.registry)

    def _histogram(self, name: str, documentation: str, buckets: Sequence[float]) -> Histogram:
        return Histogram(name, documentation, ("target",), registry=self.registry, buckets=buckets)


class _CountedChunks:
    """An iterator that counts the bytes that pass; it holds nothing, so its owner closes the inner one only."""

    def __init__(self, chunks: AsyncIterator[bytes], counter: Counter) -> None:
        self._chunks = chunks
        self._counter = counter

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        chunk = await anext(self._chunks)
        self._counter.inc(len(chunk))
        return chunk


class _Gauges(Collector):
    """Turns the last status into gauges; what is unknown has no sample."""

    def __init__(self) -> None:
        self.status: Status | None = None
        self.received_at: float | None = None

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges of the last status; nothing before the first."""
        if self.status is not None:
            yield InfoMetricFamily("walsync_build", "This instance.", {"version": self.status.version})
            yield from _of_source(self.status, self.received_at)
            yield from _of_targets(self.status.targets)

    def describe(self) -> Iterator[Metric]:
        """Name no metric at registration: they are known at the first scrape."""
        return iter(())


def _of_source(status: Status, received_at: float | None) -> Iterator[Metric]:
    source, backlog = status.source, status.backlog
    blocked_seconds = source.blocked_by.seconds if source.blocked_by is not None else None
    gauges: tuple[tuple[str, str, float | None], ...] = (
        ("walsync_source_confirmed_flush_lsn", "Where the slot stands.", source.confirmed_flush_lsn),
        ("walsync_source_wal_end_lsn", "The end of the server's WAL.", source.wal_end_lsn),
        ("walsync_slot_retained_bytes", "WAL that the slot holds back on the server's disk.", source.retained_bytes),
        (
            "walsync_hold_slot_retained_bytes",
            "WAL that the hold slot holds back; 0 while there is none.",
            _hold_bytes(source),
        ),
        ("walsync_max_slot_lag_bytes", "How much WAL may be kept for one target.", source.max_slot_lag_bytes),
        *_room("walsync_slot", "the slot", source.room),
        *_room("walsync_hold_slot", "the hold slot", source.hold.room if source.hold is not None else None),
        (
            "walsync_temporary_slot_retained_bytes",
            "WAL that the temporary slot with the most holds back.",
            source.temporary.retained_bytes if source.temporary is not None else None,
        ),
        *_room(
            "walsync_temporary_slot",
            "that temporary slot",
            source.temporary.room if source.temporary is not None else None,
        ),
        ("walsync_source_blocked_seconds", "How long what stands in the way is there already.", blocked_seconds),
        (
            "walsync_source_last_progress_timestamp_seconds",
            "When the source was last heard in the stream.",
            received_at,
        ),
        ("walsync_backlog_bytes", "Transactions read and not durable everywhere.", backlog.bytes),
        ("walsync_backlog_max_bytes", "Where reading waits.", backlog.max_bytes),
        ("walsync_backlog_transactions", "Transactions read and not durable everywhere.", backlog.transactions),
    )
    for name, documentation, value in gauges:
        if value is not None:
            yield GaugeMetricFamily(name, documentation, value)
    yield _one_hot("walsync_source_state", "1 for the state the source is in.", SourceState, source.state)
    if source.wal_status is not None:
        yield _one_hot(
            "walsync_slot_wal_status", "1 for what the server says of the slot's WAL.", _WAL_STATUSES, source.wal_status
        )
    if source.hold is not None and source.hold.wal_status is not None:
        yield _one_hot(
            "walsync_hold_slot_wal_status",
            "1 for what the server says of the hold slot's WAL.",
            _WAL_STATUSES,
            source.hold.wal_status,
        )


def _hold_bytes(source: SourceStatus) -> int | None:
    if source.hold is not None:
        return source.hold.retained_bytes
    return 0 if source.system_identifier is not None else None  # without a session nobody has looked for it


def _room(prefix: str, slot: str, room: SlotRoom | None) -> tuple[tuple[str, str, float | None], ...]:
    known = room or SlotRoom()
    return (
        (f"{prefix}_safe_bytes", f"WAL that may be written until {slot} may lose its own.", known.safe_bytes),
        (
            f"{prefix}_retained_growth_bytes_per_second",
            f"How fast the WAL grows that {slot} holds back.",
            known.growth_bytes_per_second,
        ),
        (
            f"{prefix}_until_limit_seconds",
            f"When {slot} reaches max_slot_wal_keep_size at this speed.",
            known.seconds_until_limit,
        ),
    )


def _one_hot(name: str, documentation: str, known: Iterable[str], now: str) -> Metric:
    family = GaugeMetricFamily(name, documentation, labels=("state",))
    for state in known:
        family.add_metric((str(state),), float(state == now))
    return family


def _of_copies(targets: tuple[TargetStatus, ...]) -> Iterator[Metric]:
    gauges = (
        ("walsync_snapshot_copied_rows", "Rows of the table being copied, so far.", "rows"),
        ("walsync_snapshot_expected_rows", "Rows of the table being copied, as its source estimates.", "total_rows"),
        ("walsync_snapshot_remaining_seconds", "Estimate of the time to the end of the copy.", "eta_seconds"),
    )
    for name, documentation, attribute in gauges:
        gauge = GaugeMetricFamily(name, documentation, labels=("target", "table"))
        for target in targets:
            for table, status in target.tables.items():
                value: float | None = getattr(status, attribute)
                if status.state is TableProgress.COPYING and value is not None:
                    gauge.add_metric((target.name, table), value)
        yield gauge


def _of_targets(targets: tuple[TargetStatus, ...]) -> Iterator[Metric]:
    gauges = (
        ("walsync_target_lag_bytes", "WAL between what the target has and the server's end.", "lag_bytes"),
        ("walsync_target_lag_seconds", "Age of the first change that the target lacks; 0 without one.", "lag_seconds"),
        ("walsync_target_checkpoint_lsn", "The position durable in the target.", "checkpoint_lsn"),
        ("walsync_target_retained_bytes", "WAL that the source keeps for the target.", "retained_bytes"),
        (
            "walsync_target_retained_growth_bytes_per_second",
            "How fast the WAL grows that the source keeps for the target.",
            "retained_growth_bytes_per_second",
        ),
        (
            "walsync_target_last_progress_timestamp_seconds",
            "When rows or a checkpoint last became durable.",
            "last_progress_timestamp_seconds",
        ),
    )
    for name, documentation, attribute in gauges:
        gauge = GaugeMetricFamily(name, documentation, labels=("target",))
        for target in targets:
            value: float | None = getattr(target, attribute)
            if value is not None:
                gauge.add_metric((target.name,), value)
        yield gauge
    info = GaugeMetricFamily("walsync_target_info", "Always 1: which kind a target is.", labels=("target", "kind"))
    tables = GaugeMetricFamily("walsync_target_tables", "Tables, by how far their copy is.", labels=("target", "state"))
    for target in targets:
        info.add_metric((target.name, target.type), 1.0)
        for progress in TableProgress:
            count = sum(1 for table in target.tables.values() if table.state is progress)
            tables.add_metric((target.name, progress.value), float(count))
    yield info
    yield tables
    yield from _of_copies(targets)
    state = GaugeMetricFamily("walsync_target_state", "1 for the state the target is in.", labels=("target", "state"))
    for target in targets:
        for known in TargetState:
            state.add_metric((target.name, known.value), float(target.state is known))
    yield state
