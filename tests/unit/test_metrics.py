import time
from collections.abc import AsyncIterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from walsync.lsn import LSN
from walsync.metrics import Metrics
from walsync.relation import Relation, ReplicaIdentity
from walsync.status import (
    BacklogStatus,
    BlockedBy,
    SlotRoom,
    SlotStatus,
    SourceState,
    SourceStatus,
    Status,
    TableProgress,
    TableStatus,
    TargetState,
    TargetStatus,
)
from walsync.target.base import Batch
from walsync.transaction.change import Change, Delete, Insert, Transaction, Truncate, Update

STATUS = Status(
    SourceStatus("walsync", SourceState.STREAMING, "7", 1, LSN(100), LSN(2**40), 2**20, wal_status="extended"),
    (
        TargetStatus("fast", "postgres", TargetState.STREAMING, LSN(90), 10, 0.5, 1_700_000_000.0),
        TargetStatus(
            "new",
            "d1",
            TargetState.SNAPSHOT,
            tables={
                "public.a": TableStatus(TableProgress.SYNCED, LSN(5), 42),
                "public.b": TableStatus(TableProgress.COPYING),
                "public.c": TableStatus(TableProgress.WAITING),
                "public.d": TableStatus(TableProgress.WAITING),
            },
        ),
    ),
    BacklogStatus(2048, 3, 65536),
)
RELATION = Relation(1, "public", "t", ReplicaIdentity.DEFAULT, ())


def transaction(*changes: Change, xid: int = 7, commit_time: int = 0) -> Transaction:
    return Transaction(xid, LSN(1), LSN(2), commit_time, changes, 100)


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
    assert found["walsync_backlog_max_bytes", ()] == 65536
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
    assert found["walsync_slot_wal_status", (("state", "extended"),)] == 1
    assert sum(value for (name, _), value in found.items() if name == "walsync_slot_wal_status") == 1


def test_a_hold_slot_that_nobody_has_looked_for_is_not_said_to_keep_nothing() -> None:
    assert samples(Metrics())["walsync_hold_slot_retained_bytes", ()] == 0
    found = samples(Metrics(), Status(SourceStatus("walsync", SourceState.RETRYING), STATUS.targets))
    assert ("walsync_hold_slot_retained_bytes", ()) not in found


def test_what_is_kept_is_told_for_both_slots_and_each_target() -> None:
    hold = SlotStatus("walsync_hold", LSN(5), 2**30, "extended", SlotRoom(2**20, 1024.0, 1024.0))
    copy = SlotStatus("walsync_snap_1_ab", LSN(1), 2**31, "extended", SlotRoom(6, 2.0, 3.0))
    source = SourceStatus(
        "walsync", SourceState.STREAMING, room=SlotRoom(None, -5.0), hold=hold, max_slot_lag_bytes=7, temporary=copy
    )
    target = TargetStatus(
        "far", "d1", TargetState.PARKED, retained_bytes=2**30, retained_growth_bytes_per_second=1000.0
    )
    found = samples(Metrics(), Status(source, (target,)))
    assert found["walsync_max_slot_lag_bytes", ()] == 7
    assert found["walsync_temporary_slot_retained_bytes", ()] == 2**31
    assert found["walsync_temporary_slot_until_limit_seconds", ()] == 3
    assert found["walsync_slot_retained_growth_bytes_per_second", ()] == -5
    assert ("walsync_slot_safe_bytes", ()) not in found
    assert ("walsync_slot_until_limit_seconds", ()) not in found
    assert found["walsync_hold_slot_safe_bytes", ()] == 2**20
    assert found["walsync_hold_slot_until_limit_seconds", ()] == 1024
    assert found["walsync_hold_slot_wal_status", (("state", "extended"),)] == 1
    assert found["walsync_target_retained_bytes", (("target", "far"),)] == 2**30
    assert found["walsync_target_retained_growth_bytes_per_second", (("target", "far"),)] == 1000


def test_tables_are_counted_by_how_far_their_copy_is() -> None:
    found = samples(Metrics())
    counts = {state: found["walsync_target_tables", (("state", state), ("target", "new"))] for state in TableProgress}
    assert counts == {TableProgress.WAITING: 2, TableProgress.COPYING: 1, TableProgress.SYNCED: 1}


def test_the_kind_of_a_target_stands_in_a_series_of_its_own() -> None:
    found = samples(Metrics())
    assert found["walsync_target_info", (("kind", "d1"), ("target", "new"))] == 1
    assert found["walsync_target_info", (("kind", "postgres"), ("target", "fast"))] == 1


def test_what_stands_in_the_way_is_shown_with_its_age() -> None:
    blocked = SourceStatus("walsync", SourceState.WAITING_FOR_TRANSACTIONS, blocked_by=BlockedBy(4711, 90.5))
    assert samples(Metrics(), Status(blocked, ()))["walsync_source_blocked_seconds", ()] == 90.5
    assert ("walsync_source_blocked_seconds", ()) not in samples(Metrics())


def test_the_counters_of_a_target_begin_at_zero() -> None:
    metrics = Metrics()
    found = samples(metrics)
    for name in ("transactions_total", "batches_total", "retries_total", "batch_seconds_count", "delay_seconds_count"):
        assert found[f"walsync_target_{name}", (("target", "new"),)] == 0
    for kind in ("insert", "update", "delete", "truncate"):
        assert found["walsync_target_changes_total", (("kind", kind), ("target", "new"))] == 0
    metrics.target_retries.labels(target="new").inc()
    assert samples(metrics)["walsync_target_retries_total", (("target", "new"),)] == 1


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
    assert found["walsync_target_batch_changes_count", (target,)] == 2
    assert found["walsync_target_batch_changes_sum", (target,)] == 5
    assert found["walsync_target_batch_changes_bucket", (("le", "0.0"), target)] == 1


def test_the_delay_of_a_batch_is_the_age_of_its_oldest_transaction() -> None:
    metrics = Metrics()
    now = int((time.time() - 946_684_800) * 1_000_000)
    insert = Insert(RELATION, b"", 1)
    oldest, newest = (transaction(insert, commit_time=now - age * 1_000_000) for age in (100, 1))
    metrics.count_batch("replica", Batch(LSN(0), LSN(9), [oldest, newest]), 0.02)
    metrics.count_batch("replica", Batch(LSN(9), LSN(10), ()), 0.02)
    found = samples(metrics)
    assert found["walsync_target_delay_seconds_count", (("target", "replica"),)] == 1
    assert found["walsync_target_delay_seconds_sum", (("target", "replica"),)] >= 100


def test_a_commit_of_a_clock_that_runs_ahead_has_no_negative_delay() -> None:
    metrics = Metrics()
    tomorrow = int((time.time() + 86_400 - 946_684_800) * 1_000_000)
    metrics.count_batch("replica", Batch(LSN(0), LSN(9), [transaction(commit_time=tomorrow)]), 0.02)
    assert samples(metrics)["walsync_target_delay_seconds_sum", (("target", "replica"),)] == 0


async def test_the_bytes_of_a_snapshot_are_counted_while_they_pass() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for chunk in (b"1\tann\n", b"", b"2\tbob\n3\tcid\n"):
            yield chunk

    metrics = Metrics()
    passed, counted = [], []
    async for chunk in metrics.count_chunks("a", "public.t", chunks()):
        passed.append(chunk)
        counted.append(samples(metrics)["walsync_snapshot_bytes_total", (("table", "public.t"), ("target", "a"))])
    assert passed == [b"1\tann\n", b"", b"2\tbob\n3\tcid\n"]
    assert counted == [6, 6, 18]


def test_keepalives_are_not_counted_as_transactions() -> None:
    metrics = Metrics()
    assert ("walsync_source_last_progress_timestamp_seconds", ()) not in samples(metrics)
    before = time.time()
    metrics.count_received([transaction(), Transaction.keepalive(LSN(5), 0), transaction()], 512)
    found = samples(metrics)
    assert found["walsync_transactions_received_total", ()] == 2
    assert found["walsync_received_bytes_total", ()] == 512
    assert before <= found["walsync_source_last_progress_timestamp_seconds", ()] <= time.time()


def test_two_instances_in_one_process_count_for_themselves() -> None:
    one, other = Metrics(), Metrics()
    one.source_reconnects.inc()
    assert samples(one)["walsync_source_reconnects_total", ()] == 1
    assert samples(other)["walsync_source_reconnects_total", ()] == 0


def test_names_follow_the_convention_and_no_label_is_a_position() -> None:
    metrics = Metrics()
    metrics.target_errors.labels("a", "WS4203").inc()
    metrics.snapshot_rows.labels("a", "public.t").inc(5)
    metrics.source_errors.labels("WS2002").inc()
    allowed = {"target", "table", "kind", "state", "code", "version", "le"}
    for name, labels in samples(metrics):
        assert name.startswith(("walsync_", "process_")), name
        assert not name.endswith("_created"), name
        assert {label for label, _ in labels} <= allowed, name
