"""``walsync tail``: prints what a slot delivers, as wal2json, as walsync's own JSON, or for people."""

import gc
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click
from pydantic_core import PydanticCustomError

from walsync.cli.options import load, with_config, with_logs
from walsync.errors import ConfigurationError
from walsync.lsn import LSN
from walsync.setting_types import check_dsn
from walsync.settings import Secret
from walsync.source.describe import Describer
from walsync.tail.formats import FORMATS, NOWHERE, WAL2JSON, Choice, Surroundings, make_renderer
from walsync.tail.output import open_file
from walsync.tail.source import Opened, Source, opened
from walsync.tail.tail import End, Tail
from walsync.transaction.assembler import Assembler

_INTERRUPTED: Final = 130

_NEW_OBJECTS: Final = 50_000
"""How many objects the garbage collector lets come before it looks. By default it looks again and again at all changes
of a large transaction, where it finds nothing: that is a tenth of the time."""
_NAME: Final = "walsync tail"


class Position(click.ParamType[LSN]):
    """An LSN on the command line: ``16/B374D848``."""

    name = "lsn"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> LSN:  # noqa: ANN401
        """Read it; a usage error when it is something else."""
        try:
            return LSN.parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command()
@with_config
@with_logs("warning")
@click.option("--dsn", help="The source, instead of a configuration file; goes with --publication.")
@click.option("--publication", help="The publication to read.")
@click.option("--slot", help="A permanent slot: made when absent, and moved on. Without it: a temporary one, from now.")
@click.option("--format", "format_name", type=click.Choice(FORMATS), default="text", show_default=True)
@click.option("--format-version", type=click.Choice(("1", "2")), help="Of wal2json; 1 unless said otherwise.")
@click.option("-o", "--option", "options", multiple=True, metavar="NAME=VALUE", help="An option of the format.")
@click.option("--table", "tables", multiple=True, help="Show only schema.table or schema.*; may stand often.")
@click.option("--where", "conditions", multiple=True, help="Show only rows with column=value, or !=; may stand often.")
@click.option("--until-lsn", type=Position(), help="End when all that committed before is printed and acknowledged.")
@click.option("--until-caught-up", is_flag=True, help="End at what is the end of the WAL now.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="End after N transactions that print something.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Append to a file instead of stdout.")
def tail(path: Path | None, **given: Any) -> None:
    """Print the changes of a publication as they are committed, one record per line; logs are on stderr.

    At least once: what stdout, a pipe or the file has taken is acknowledged, about every second and at the end. With
    --slot the next call goes on from there.
    """
    gc.set_threshold(_NEW_OBJECTS)
    # Until the stream begins nothing is to be drained, and libpq would not come back before a new slot is there: for
    # that the server waits for every transaction that is writing.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    source = _source(path, given["dsn"], given["publication"], given["slot"])
    choice = _choice(given)
    describer = Describer(source.dsn, _NAME)
    try:
        with opened(source) as stream, _descriptor(given["output"]) as descriptor:
            _run(stream, describer, choice, _end(given, stream), descriptor)
    finally:
        describer.close()


def _run(opened_stream: Opened, describer: Describer, choice: Choice, end: End, descriptor: int) -> None:
    assembler = Assembler()

    def type_name(oid: int) -> tuple[str, str] | None:
        known = assembler.types.get(oid)
        return (known.schema, known.name) if known is not None else None

    surroundings = Surroundings(
        lambda relation: describer.describe(relation, type_name), describer.origin_id, os.isatty(descriptor)
    )
    renderer = make_renderer(choice, surroundings)
    printing = Tail(opened_stream.stream, assembler, end)
    with _signals(printing):
        position = printing.run(renderer, descriptor)
    opened_stream.await_confirmed(position)


def _source(path: Path | None, dsn: str | None, publication: str | None, slot: str | None) -> Source:
    if dsn is None:
        settings = load(path).source
        if slot == settings.slot:
            raise ConfigurationError(
                "WS1031",
                f"{slot} is the slot of this configuration: what is acknowledged here, its targets would miss",
                hint="give --slot a name of its own, or leave it out",
            )
        return Source(settings.dsn.get_secret_value(), publication or settings.publication, slot, _NAME)
    if path is not None:
        raise click.UsageError("--dsn and -c exclude each other")
    if publication is None:
        raise click.UsageError("--dsn goes with --publication")
    try:
        check_dsn(Secret(dsn))
    except PydanticCustomError as error:
        found = error.context or {}
        raise ConfigurationError(found["code"], f"--dsn: {found['message']}", hint=found["hint"]) from None
    return Source(dsn, publication, slot, _NAME)


def _choice(given: Mapping[str, Any]) -> Choice:
    """Read the format and its options, and try them out before anything is opened."""
    options = [
        (name, value if equals else None) for name, equals, value in (o.partition("=") for o in given["options"])
    ]
    if given["format_version"] is not None:
        if given["format_name"] != WAL2JSON:
            raise click.UsageError("--format-version goes with --format wal2json")
        options.insert(0, ("format-version", given["format_version"]))
    choice = Choice(given["format_name"], options, given["tables"], given["conditions"])
    make_renderer(choice, NOWHERE)
    return choice


def _end(given: Mapping[str, Any], opened_stream: Opened) -> End:
    until = given["until_lsn"]
    if given["until_caught_up"]:
        until = min(until, opened_stream.wal_end) if until is not None else opened_stream.wal_end
    return End(until, given["limit"])


@contextmanager
def _descriptor(output: Path | None) -> Iterator[int]:
    if output is None:
        yield sys.stdout.fileno()
        return
    descriptor = open_file(output)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _signals(printing: Tail) -> Iterator[None]:
    interrupted = False

    def stop(number: int, _frame: object) -> None:
        nonlocal interrupted
        if interrupted and number == signal.SIGINT:
            os._exit(_INTERRUPTED)  # what is not acknowledged comes again: leaving at once loses nothing
        interrupted = interrupted or number == signal.SIGINT
        printing.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
