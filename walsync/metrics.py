"""The numbers that Prometheus scrapes: counters that the steps increment, and gauges taken from a `Status` at scrape.

Every instance has its own registry. LSNs are values of gauges, never labels.
"""

from collections import Counter as Tally
from collections.abc import Iterator, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from walsync.status import SourceState, Status, TargetState, TargetStatus
from walsync.target.base import Batch
from walsync.transaction.change import Transaction

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

_BATCH_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""From one small commit on a local disk to a batch that fills half a minute."""

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
        self.target_transactions = self._counter(
            "walsync_target_transactions_total", "Source transactions made durable.", "target"
        )
        self.target_changes = self._counter(
            "walsync_target_changes_total", "Row changes made durable.", "target", "kind"
        )
        self.target_batches = self._counter("walsync_target_batches_total", "Batches made durable.", "target")
        self.target_batch_seconds = Histogram(
            "walsync_target_batch_seconds",
            "Time from handing a batch to a target until it is durable there.",
            ("target",),
            registry=self.registry,
            buckets=_BATCH_SECONDS,
        )
        self.target_retries = self._counter(
            "walsync_target_retries_total", "Attempts that ended with a target away.", "target"
        )
        self.target_errors = self._counter("walsync_target_errors_total", "Errors by their code.", "target", "code")
        self.snapshot_rows = self._counter(
            "walsync_snapshot_rows_total", "Rows copied by snapshots.", "target", "table"
        )

    def count_received(self, transactions: Sequence[Transaction], received_bytes: int) -> None:
        """Count what the reader has handed over; keepalives are no transactions."""
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

    def render(self, status: Status) -> bytes:
        """Write everything in Prometheus' text format, with the gauges of this moment."""
        self._gauges.status = status
        return generate_latest(self.registry)

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(name, documentation, labels, registry=self.registry)


class _Gauges(Collector):
    """Turns the last status into gauges; what is unknown has no sample."""

    def __init__(self) -> None:
        self.status: Status | None = None

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges of the last status; nothing before the first."""
        if self.status is not None:
            yield InfoMetricFamily("walsync_build", "This instance.", {"version": self.status.version})
            yield from _of_source(self.status)
            yield from _of_targets(self.status.targets)

    def describe(self) -> Iterator[Metric]:
        """Name no metric at registration: they are known at the first scrape."""
        return iter(())


def _of_source(status: Status) -> Iterator[Metric]:
    source, backlog = status.source, status.backlog
    gauges: tuple[tuple[str, str, float | None], ...] = (
        ("walsync_source_confirmed_flush_lsn", "Where the slot stands.", source.confirmed_flush_lsn),
        ("walsync_source_wal_end_lsn", "The end of the server's WAL.", source.wal_end_lsn),
        ("walsync_slot_retained_bytes", "WAL that the slot holds back on the server's disk.", source.retained_bytes),
        ("walsync_backlog_bytes", "Transactions read and not durable everywhere.", backlog.bytes),
        ("walsync_backlog_transactions", "Transactions read and not durable everywhere.", backlog.transactions),
    )
    for name, documentation, value in gauges:
        if value is not None:
            yield GaugeMetricFamily(name, documentation, value)
    state = GaugeMetricFamily("walsync_source_state", "1 for the state the source is in.", labels=("state",))
    for known in SourceState:
        state.add_metric((known.value,), float(source.state is known))
    yield state


def _of_targets(targets: tuple[TargetStatus, ...]) -> Iterator[Metric]:
    gauges = (
        ("walsync_target_lag_bytes", "WAL between what the target has and the server's end.", "lag_bytes"),
        ("walsync_target_lag_seconds", "Age of the first change that the target lacks; 0 without one.", "lag_seconds"),
        ("walsync_target_checkpoint_lsn", "The position durable in the target.", "checkpoint_lsn"),
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
    state = GaugeMetricFamily("walsync_target_state", "1 for the state the target is in.", labels=("target", "state"))
    for target in targets:
        for known in TargetState:
            state.add_metric((target.name, known.value), float(target.state is known))
    yield state
