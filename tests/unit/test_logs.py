import io
import logging
import sys
import time
import warnings
from enum import StrEnum
from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog
from pydantic import SecretStr

from walsync import logs
from walsync.logs import Logger
from walsync.lsn import LSN

SECRET = "hunter2-very-secret"


class Colour(StrEnum):
    RED = "red"


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


def logger() -> Logger:
    made: Logger = structlog.get_logger()
    return made


def only_line(out: io.StringIO) -> dict[str, Any]:
    [line] = out.getvalue().splitlines()
    content: dict[str, Any] = orjson.loads(line)
    return content


def test_elsewhere_than_on_a_terminal_each_line_is_json(out: io.StringIO) -> None:
    logs.configure(stream=out)
    logger().info("slot_created", slot="walsync", lsn=LSN.parse("16/B374D848"), seconds=0.5, tables=("a", "b"))
    line = only_line(out)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "slot_created",
        "level": "info",
        "slot": "walsync",
        "lsn": "16/B374D848",
        "seconds": 0.5,
        "tables": ["a", "b"],
    }


def test_on_a_terminal_a_line_is_for_people(out: io.StringIO) -> None:
    logs.configure(stream=out, json=False)
    logger().warning("target_unavailable", target="replica", lsn=LSN(1))
    assert "target_unavailable" in out.getvalue()
    assert "target=replica" in out.getvalue()
    assert "lsn=0/1" in out.getvalue()


@pytest.mark.parametrize(("level", "count"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_what_is_below_the_level_is_left_out(out: io.StringIO, level: str, count: int) -> None:
    logs.configure(level, stream=out)
    log = logger()
    for say in (log.debug, log.info, log.warning, log.error):
        say("something_happened")
    assert len(out.getvalue().splitlines()) == count


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize(
    "values",
    [
        {"value": SecretStr(SECRET)},
        {"value": f"postgresql://user:{SECRET}@host/db"},
        {"value": f"cannot open postgres://user:p@{SECRET}@host:5432/db?x=1 now"},
        {"value": f"ws://root:{SECRET}@host:8000/rpc"},
        {"value": f"host=x password={SECRET} user=y"},
        {"value": f"host=x password = '{SECRET} \\' and more {SECRET}' user=y"},
        {"value": f"postgresql://h/db?user=u&password={SECRET}&sslmode=require"},
        {"value": f'{{"api_token": "{SECRET}"}}'},
        {"value": f"Authorization: Bearer {SECRET}"},
        {"value": f"sslpassword={SECRET}"},
        {"value": f"token={SECRET}"},
        {"value": [{"inner": {"dsn": SecretStr(SECRET), "text": f"password={SECRET}"}}]},
        {"password": SECRET},
        {"api_token": SECRET},
        {"value": {"webhook_secret": SECRET}},
        {"value": ValueError(f"bad dsn postgresql://u:{SECRET}@h")},
        {"value": SECRET.encode()},
    ],
    ids=str,
)
def test_secrets_are_masked_whoever_logs_them(out: io.StringIO, values: dict[str, Any], *, as_json: bool) -> None:
    logs.configure(stream=out, json=as_json)
    logger().error("it_failed", **values)
    assert SECRET not in out.getvalue()


def test_masking_leaves_the_rest_readable() -> None:
    masked = logs.mask_text(f"connecting to postgresql://app:{SECRET}@db:5432/app?sslmode=require failed")
    assert masked == "connecting to postgresql://app:****@db:5432/app?sslmode=require failed"
    assert logs.mask_text("host=a password=x user=b") == "host=a password=**** user=b"
    assert logs.mask_text("postgresql://app@db:5432/app") == "postgresql://app@db:5432/app"


@pytest.mark.parametrize("part", ["a", "password", "://", "://u:", "password=", "password='", "api_token"])
def test_masking_a_long_text_takes_no_time(part: str) -> None:
    began = time.process_time()
    logs.mask_text(part * (50_000 // len(part)))
    assert time.process_time() - began < 1


@pytest.mark.parametrize("as_json", [True, False])
def test_a_traceback_is_logged_without_secrets(out: io.StringIO, *, as_json: bool) -> None:
    logs.configure(stream=out, json=as_json)
    local_secret = SECRET
    try:
        int(f"password={local_secret}")
    except ValueError:
        logger().exception("unexpected_error")
    assert "ValueError" in out.getvalue()
    assert "test_a_traceback_is_logged" in out.getvalue()
    assert SECRET not in out.getvalue()


def test_what_libraries_log_comes_down_the_same_road(out: io.StringIO) -> None:
    logs.configure(stream=out)
    logging.getLogger("aiohttp.server").warning("cannot serve %s", f"postgresql://u:{SECRET}@h/db")
    line = only_line(out)
    assert (line["event"], line["library"], line["level"]) == ("library_message", "aiohttp.server", "warning")
    assert line["message"] == "cannot serve postgresql://u:****@h/db"


def test_chatter_of_libraries_is_left_out(out: io.StringIO) -> None:
    logs.configure("debug", stream=out)
    logging.getLogger("asyncio").debug("using selector")
    assert out.getvalue() == ""


def test_a_warning_of_python_is_logged(out: io.StringIO) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logs.configure(stream=out)
        warnings.warn("old", UserWarning, stacklevel=1)
        logging.captureWarnings(capture=False)
    assert only_line(out)["library"] == "py.warnings"


def test_every_kind_of_value_can_be_logged(out: io.StringIO) -> None:
    logs.configure(stream=out)
    logger().info(
        "values",
        none=None,
        yes=True,
        large=2**70,
        colour=Colour.RED,
        path=Path("/a"),
        names={"a"},
        inner={1: {"lsn": LSN(2**32)}},
        nothing_known=object,
    )
    line = only_line(out)
    assert (line["none"], line["yes"], line["large"]) == (None, True, str(2**70))
    assert (line["colour"], line["path"], line["names"]) == ("red", "/a", ["a"])
    assert line["inner"] == {"1": {"lsn": "1/0"}}


def test_logs_go_to_stderr_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    logger().info("hello")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "hello" in captured.err
    assert sys.stderr.isatty() is False
