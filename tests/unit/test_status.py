import orjson
import pytest

from walsync.errors import TargetRefused
from walsync.lsn import LSN
from walsync.status import (
    BlockedBy,
    LastError,
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

FULL = Status(
    SourceStatus(
        "walsync",
        SourceState.WAITING_FOR_SLOT,
        "7300000000000000001",
        3,
        LSN.parse("16/B374D848"),
        LSN.parse("FFFFFFFF/FFFFFFFF"),
        12,
        BlockedBy(4711, 1.5, "psql"),
        hold=SlotStatus("walsync_hold", LSN(4), 5, "reserved", SlotRoom(1, -2.5)),
        room=SlotRoom(None, 2.5, 3.5),
        temporary=SlotStatus("walsync_snap_1_ab", LSN(1), 6, "extended", SlotRoom(1, 2.0, 0.5)),
        max_slot_lag_bytes=6,
    ),
    (
        TargetStatus(
            name="replica",
            type="postgres",
            state=TargetState.STOPPED,
            checkpoint_lsn=LSN(1),
            lag_bytes=3,
            lag_seconds=0.25,
            last_error=LastError.of(TargetRefused("WS4203", "a column is missing", hint="add it")),
            retained_bytes=7,
            retained_growth_bytes_per_second=0.5,
            warning=LastError("WS2501", "much", "mend it"),
            tables={"public.users": TableStatus(TableProgress.SYNCED, LSN(5), 42)},
        ),
    ),
)
EMPTY = Status(SourceStatus("walsync", SourceState.NOT_RUNNING), ())


@pytest.mark.parametrize("status", [FULL, EMPTY])
def test_what_is_written_is_read_back(status: Status) -> None:
    assert Status.from_json(status.to_json()) == status
    assert Status.from_json(status.to_json(indent=True)) == status


def test_the_contract_has_the_documented_keys() -> None:
    content = orjson.loads(FULL.to_json())
    assert {"version", "source", "targets"} <= content.keys()
    assert {
        "slot",
        "system_identifier",
        "timeline",
        "confirmed_flush_lsn",
        "wal_end_lsn",
        "retained_bytes",
        "state",
        "blocked_by",
    } <= content["source"].keys()
    [target] = content["targets"]
    assert {
        "name",
        "type",
        "state",
        "checkpoint_lsn",
        "lag_bytes",
        "lag_seconds",
        "last_error",
        "tables",
    } <= target.keys()
    assert target["last_error"] == {"code": "WS4203", "message": "a column is missing", "hint": "add it"}
    [(name, table)] = target["tables"].items()
    assert name == "public.users"
    assert {key: value for key, value in table.items() if value is not None} == {
        "state": "synced",
        "synced_lsn": "0/5",
        "rows": 42,
    }
    assert {"bytes", "total_rows", "total_bytes", "eta_seconds"} <= table.keys()


def test_lsns_are_written_as_the_server_writes_them() -> None:
    content = orjson.loads(FULL.to_json())
    assert content["source"]["confirmed_flush_lsn"] == "16/B374D848"
    assert content["source"]["wal_end_lsn"] == "FFFFFFFF/FFFFFFFF"


def test_a_newer_instance_may_say_more() -> None:
    content = orjson.loads(EMPTY.to_json())
    content["source"]["new_key"] = 1
    assert Status.from_json(orjson.dumps(content)) == EMPTY


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"<html>", b'{"source": {"slot": 1}, "targets": []}'])
def test_something_else_is_not_taken_for_a_status(body: bytes) -> None:
    with pytest.raises(ValueError, match="validation error"):
        Status.from_json(body)
