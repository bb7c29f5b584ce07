"""D1 on workerd, by gateway and by REST: read and troubled past them, cut off by an HTTP server before them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

from conformance.bench import Rows
from conformance.stream import SLOT
from fix_http_front import HttpFront
from fix_rest_api import ACCOUNT, TOKEN, Clock, RestApi
from fix_workerd import SECRET, Plain, Workerd

from walsync.identifier import quote
from walsync.settings import Secret
from walsync.source.table import Table
from walsync.target.d1.budget import RateBudget
from walsync.target.d1.encoder import Encoder
from walsync.target.d1.plan import table_name
from walsync.target.d1.rest import RestClient
from walsync.target.d1.rest_target import RestD1Target
from walsync.target.d1.settings import D1Settings
from walsync.target.d1.target import D1Target
from walsync.target.d1.values import value_form


class D1PlainBench:
    """What all D1 databases on workerd have in common: a plain way to them, and an HTTP server in between."""

    takes_tables_without_key = True

    def __init__(self, plain: Plain, url: str) -> None:
        self.plain = plain
        self.front = HttpFront(url)

    async def __aenter__(self) -> Self:
        await self.front.__aenter__()
        return self

    async def __aexit__(self, *reason: object) -> None:
        await self.front.__aexit__(*reason)

    def rows(self, table: Table) -> Rows:
        forms = [value_form(column.name, column.type) for column in table.published_columns]
        # As text and type: JSON would cut integers beyond 2**53, doubles and blobs.
        tagged = (
            f"typeof({quote(name)}), CASE typeof({quote(name)}) WHEN 'real' THEN iif({quote(name)} = 0.0 AND"
            f" atan2({quote(name)}, -1.0) < 0, '-0.0', printf('%!.17g', {quote(name)})) WHEN 'blob' THEN"
            f" hex({quote(name)}) ELSE CAST({quote(name)} AS TEXT) END"
            for name in table.published
        )
        found = self.plain.execute(f"SELECT {', '.join(tagged)} FROM {quote(table_name(table))}")
        texts = (
            [form.decode(_stored(*row[2 * index : 2 * index + 2])) for index, form in enumerate(forms)] for row in found
        )
        return sorted((tuple(None if text is None else text.decode() for text in row) for row in texts), key=repr)

    def drop(self, table: Table) -> None:
        self.plain.execute(f"DROP TABLE {quote(table_name(table))}")

    def forbid(self, table: Table, column: str, value: str) -> None:
        name = quote(table_name(table))
        self.plain.execute(
            f"CREATE TRIGGER forbid BEFORE INSERT ON {name} WHEN new.{quote(column)} = '{value}'"
            f" BEGIN SELECT RAISE(ABORT, 'not {value} here'); END"
        )

    def has_stages(self) -> bool:
        return bool(self.plain.execute("SELECT 1 FROM sqlite_master WHERE name LIKE '%walsync_new%'"))

    def wipe(self) -> None:
        for (name,) in self.plain.execute("SELECT name FROM sqlite_master WHERE type = 'table'"):
            if name.startswith("_walsync"):
                self.plain.execute(f"DROP TABLE {quote(name)}")

    def vanish_while_writing(self) -> None:
        self.front.cut_before(lambda _, body: b"INSERT INTO" in body and b"json_each" in body)

    def vanish(self) -> None:
        # HTTP has no connection to lose while nothing is asked: the next request meets nobody.
        self.front.cut_before()

    @contextmanager
    def blocked(self, table: Table) -> Iterator[Callable[[], bool]]:
        writes = f"INSERT INTO {quote(table_name(table))}".encode()
        escaped = writes.replace(b'"', b'\\"')
        self.front.hold(lambda _, body: writes in body or escaped in body)
        yield lambda: self.front.held > 0
        self.front.release()


class D1GatewayBench(D1PlainBench):
    """One binding of the gateway."""

    def __init__(self, workerd: Workerd, database: str) -> None:
        super().__init__(workerd.plain(database), workerd.url)
        self.database = database

    def target(self, name: str = "replica", *, collapse: bool = True) -> D1Target:
        settings = D1Settings(name=name, type="d1", url=self.front.url, database=self.database, secret=Secret(SECRET))
        return D1Target(settings, SLOT, collapse=collapse, encoder=Encoder())


class D1RestBench(D1PlainBench):
    """One database behind Cloudflare's API."""

    takes_tables_without_key = False

    def __init__(self, workerd: Workerd, database: str) -> None:
        super().__init__(workerd.plain(database), "")
        self.api = RestApi(workerd)
        self.database = database

    async def __aenter__(self) -> Self:
        await self.api.__aenter__()
        self.front.to = self.api.url
        return await super().__aenter__()

    async def __aexit__(self, *reason: object) -> None:
        await super().__aexit__(*reason)
        await self.api.__aexit__(*reason)

    def target(self, name: str = "replica", *, collapse: bool = True) -> D1Target:
        del collapse  # REST has one road
        address = f"{self.front.url}/accounts/{ACCOUNT}/d1/database/{self.database.replace('DB_', 'id-').lower()}"
        clock = Clock()
        settings = D1Settings(
            name=name,
            type="d1",
            account_id=ACCOUNT,
            database_id=self.database.replace("DB_", "id-").lower(),
            api_token=Secret(TOKEN),
        )
        client = RestClient(address, Secret(TOKEN), f"target {name}", RateBudget(clock, clock.sleep))
        return RestD1Target(settings, SLOT, client=client, encoder=Encoder())


def _stored(kind: str, text: str | None) -> object:
    """Make what SQLite holds out of its type and its text."""
    if text is None:
        return None
    match kind:
        case "integer":
            return int(text)
        case "real":
            return float(text)
        case "blob":
            return bytes.fromhex(text)
        case _:
            return text
