"""Lets everything run after the demo, to play with: says where it is, and starts walsync again when it has ended."""

import shlex
import shutil
import sys
import threading
from typing import Final

from walsync.demo.display import Display
from walsync.demo.engines import PostgresServer
from walsync.demo.stage import CONFIG, GRAPH, REPLICA, Place, Stage, places
from walsync.demo.watch import Watch

_LOOK_SECONDS: Final = 0.5
_AFTER_A_FAILURE_SECONDS: Final = 3.0
_TABLE: Final = "public.notes"


def everything(stage: Stage, watch: Watch, display: Display) -> None:
    """Return at Ctrl-C; until then walsync runs, whatever ends it."""
    try:
        stage.child.start()
        known = _look_after(stage, watch, display)
        _tell(stage, display)
        while True:
            everywhere = _look_after(stage, watch, display)
            for table in sorted(everywhere - known):
                display.say(f"{table} is in all {stage.number} targets")
            known |= everywhere
    except KeyboardInterrupt:
        display.print()
        display.say("Ctrl-C: walsync catches up, everything is compared once more and removed; again: at once")


def _look_after(stage: Stage, watch: Watch, display: Display) -> frozenset[str]:
    """Wait until all targets stream, and return what is complete in each; start walsync where it has ended."""
    pause = threading.Event()  # never set: its `wait` is the pace
    while True:
        pause.wait(_LOOK_SECONDS)
        if stage.child.has_ended:
            _start_again(stage, display)
        elif watch.look() and watch.all_stream():
            return frozenset.intersection(*(sight.copied for sight in watch.targets.values()))


def _start_again(stage: Stage, display: Display) -> None:
    code = stage.child.wait()
    if code != 0:
        display.print(str(stage.child.failed(f"ended with {code}")))
        threading.Event().wait(_AFTER_A_FAILURE_SECONDS)
    stage.child.start()
    display.say(f"walsync ended with {code}; started again, process {stage.child.pid}")


def _tell(stage: Stage, display: Display) -> None:
    folder, url, source = stage.folder, stage.child.url, stage.source
    display.print()
    display.print("Everything stays until Ctrl-C.")
    lines = {
        "walsync": f"{url}/status  {url}/metrics  {url}/ready",
        "settings": f"{folder / CONFIG}",
        "log": f"{folder / 'log'}",
        "source": _psql(source),
        REPLICA: _psql(stage.target),
        **{place.name: _d1(place) for place in places(folder)[1] if place.name in stage.regions},
        GRAPH: f"surrealkv://{folder / GRAPH}  (walsync holds it: open a copy)",
    }
    for name, line in lines.items():
        display.print(f"  {name:9} {line}")
    sql = f"CREATE TABLE {_TABLE} (id integer PRIMARY KEY, body text); INSERT INTO {_TABLE} VALUES (1, 'hello')"
    display.print(f"A table of your own: create it, let walsync look again, and see it in all {stage.number} targets:")
    display.print(f'  $ {_psql(source)} -c "{sql}"')
    display.print(f"  $ kill -HUP {stage.child.pid}  # walsync goes on, looks again, and finds the table")
    display.print(f"  $ {shlex.quote(sys.executable)} -m walsync.demo.look {folder} {_TABLE}")


def _d1(place: Place) -> str:
    if place.address.startswith("sqlite://"):
        return f"sqlite3 -readonly {place.address.removeprefix('sqlite://')}"
    question = '{"raw": true, "statements": [["SELECT count(*) FROM app__orgs", []]]}'
    return f"curl {place.address} -d '{question}'"


def _psql(server: PostgresServer) -> str:
    program = "psql" if shutil.which("psql") else shlex.quote(str(server.installation.program("psql")))
    return f"{program} {server.dsn()}"
