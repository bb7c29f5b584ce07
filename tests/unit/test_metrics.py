import pytest
from prometheus_client.parser import text_string_to_metric_families

from walsync.lsn import LSN
from walsync.metrics import Metrics
from walsync.relation import Relation, ReplicaIdentity
from walsync.status import BacklogStatus, SourceState, SourceStatus, Status, TargetState, TargetStatus
from walsync.target.base import Batch
from walsync.transaction.change import Change, Delete, Insert, Transaction, Truncate, Update

STATUS = Status(
    SourceStatus("walsync", SourceState.STREAMING, "7", 1, LSN(100), LSN(2**40), 2**20),
    (
        TargetStatus("fast", "postgres", TargetState.STREAMING, LSN(90), 10, 0.5, 1_700_000_000.0),
        TargetStatus("new", "postgres", TargetState.SNAPSHOT),
    ),
    BacklogStatus(2048, 3),
)
RELATION = Relation(1, "public", "t", ReplicaIdentity.DEFAULT, ())


def transaction(*changes: Change, xid: int = 7) -> Transaction:
    return Transaction(xid, LSN(1), LSN(2), 0, changes, 100)


def samples(metrics: Metrics, status: Status = STATUS) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(metrics.render(status).decode())
    return {(one.name, tuple(sorted(one.labels.items()))): one.value for family in families for one in family.samples}


def test_gauges_are_those_of_the_status_at_scrape() -> None:
    found = samples(Metrics())
    assert found["walsync_source_confirmed_flush_lsn", ()] == 100
    assert found["walsync_source_wal_end_lsn", ()] == 2**40
    assert found["walsync_slot_retained_bytes", ()] == 2**20
    assert found["walsync_backlog_bytes", ()] == 2048
    assert found["walsync_backlog_transactions", ()] == 3
    fast = (("target", "fast"),)
    assert found["walsync_target_lag_bytes", fast] == 10
    assert found["walsync_target_lag_seconds", fast] == 0.5
    assert found["walsync_target_checkpoint_lsn", fast] == 90
    assert found["walsync_target_last_progress_timestamp_seconds", fast] == 1_700_000_000
    assert found["walsync_build_info", (("version", STATUS.version),)] == 1


def test_what_is_unknown_has_no_sample() -> None:
    found = samples(Metrics(), Status(SourceStatus("walsync", SourceState.STARTING), STATUS.targets))
    assert ("walsync_source_confirmed_flush_lsn", ()) not in found
    assert ("walsync_target_lag_bytes", (("target", "new"),)) not in found


def test_states_are_one_hot() -> None:
    found = samples(Metrics())
    for target, state in (("fast", "streaming"), ("new", "snapshot")):
        states = {
            labels: value
            for (name, labels), value in found.items()
            if name == "walsync_target_state" and ("target", target) in labels
        }
        assert len(states) == len(TargetState)
        assert [labels for labels, value in states.items() if value] == [(("state", state), ("target", target))]
    assert found["walsync_source_state", (("state", "streaming"),)] == 1
    assert sum(value for (name, _), value in found.items() if name == "walsync_source_state") == 1


def test_a_batch_is_counted_by_target_and_kind() -> None:
    metrics = Metrics()
    insert, update = Insert(RELATION, b"", 1), Update(RELATION, None, b"", 1)
    delete, truncate = Delete(RELATION, b"", 1), Truncate((RELATION,), cascade=False, restart_identity=False, lsn=1)
    batch = Batch(LSN(0), LSN(9), [transaction(insert, update, insert), transaction(delete, truncate)])
    metrics.count_batch("replica", batch, 0.02)
    metrics.count_batch("replica", Batch(LSN(9), LSN(10), ()), 0.001)
    found = samples(metrics)
    target = ("target", "replica")
    assert found["walsync_target_batches_total", (target,)] == 2
    assert found["walsync_target_transactions_total", (target,)] == 2
    kinds = {kind: found["walsync_target_changes_total", (("kind", kind), target)] for kind in ("insert", "update")}
    assert kinds == {"insert": 2, "update": 1}
    assert found["walsync_target_changes_total", (("kind", "delete"), target)] == 1
    assert found["walsync_target_changes_total", (("kind", "truncate"), target)] == 1
    assert found["walsync_target_batch_seconds_count", (target,)] == 2
    assert found["walsync_target_batch_seconds_sum", (target,)] == pytest.approx(0.021)


def test_keepalives_are_not_counted_as_transactions() -> None:
    metrics = Metrics()
    metrics.count_received([transaction(), Transaction.keepalive(LSN(5), 0), transaction()], 512)
    found = samples(metrics)
    assert found["walsync_transactions_received_total", ()] == 2
    assert found["walsync_received_bytes_total", ()] == 512


def test_two_instances_in_one_process_count_for_themselves() -> None:
    one, other = Metrics(), Metrics()
    one.source_reconnects.inc()
    assert samples(one)["walsync_source_reconnects_total", ()] == 1
    assert samples(other)["walsync_source_reconnects_total", ()] == 0


def test_names_follow_the_convention_and_no_label_is_a_position() -> None:
    metrics = Metrics()
    metrics.target_errors.labels("a", "WS4203").inc()
    metrics.snapshot_rows.labels("a", "public.t").inc(5)
    metrics.target_retries.labels("a").inc()
    allowed = {"target", "table", "kind", "state", "code", "version", "le"}
    for name, labels in samples(metrics):
        assert name.startswith(("walsync_", "process_")), name
        assert not name.endswith("_created"), name
        assert {label for label, _ in labels} <= allowed, name
