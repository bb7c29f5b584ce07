"""The D1 target over REST: at least once, and the same rows in the end, however often a request is cut and repeated.

Data first, checkpoint last, in one request whose statements each wait for their turn. Before the first row the request
notes how far it goes (`upto`): after an interruption rows up to there may be in the database already, and until the
checkpoint is there too, a row that is missing is one that a change still to come has deleted or moved.
docs/adr/0013-d1-over-rest.md says why that ends with the rows of the source.
"""

from collections.abc import Iterator, Sequence

import structlog

from walsync.errors import TargetRefused
from walsync.logs import Logger
from walsync.lsn import LSN, ZERO
from walsync.source.table import Table
from walsync.target.base import Batch, Finding, Writer
from walsync.target.d1.budget import budget_of
from walsync.target.d1.checkpoint import CheckpointStore, Stored, refuse_guard
from walsync.target.d1.encoder import SHARED, Encoder, Write
from walsync.target.d1.failures import GuardRaised
from walsync.target.d1.fault import Trial, name_fault
from walsync.target.d1.plan import table_plan
from walsync.target.d1.request import Encoding, Request, Statement
from walsync.target.d1.rest import RestClient
from walsync.target.d1.rest_changes import RestEncoding, is_one_segment, rest_statements_of
from walsync.target.d1.rest_statements import CREATE_REST, begin, end, guarded, guarded_sql, sweep, turn
from walsync.target.d1.schema import TargetTable
from walsync.target.d1.settings import D1Settings
from walsync.target.d1.target import D1Target
from walsync.target.slices import Limits, Reached, Slice, cut
from walsync.transaction.change import Transaction

log: Logger = structlog.get_logger()


class RestD1Target(D1Target):
    """A D1 database behind Cloudflare's API. Changes are always collapsed: one request for each would be too many."""

    def __init__(self, settings: D1Settings, slot: str, *, client: RestClient, encoder: Encoder = SHARED) -> None:
        super().__init__(settings, slot, client=client, encoder=encoder)
        self._rest = client
        self._store = CheckpointStore(client, slot, settings.name, own=CREATE_REST)
        self._tables: Sequence[Table] = ()
        self._upto = ZERO
        self._flushed_at: float | None = None

    @property
    def remarks(self) -> tuple[str, ...]:
        """Tell how often it is written: as often as the requests of its token allow to all that share them."""
        budget = self._rest.budget
        sharing = "it has its api_token for itself" if budget.targets == 1 else f"{budget.targets} share its api_token"
        return (f"is written every {budget.flush_seconds:.1f} s at most: {sharing}",)

    @property
    def beside(self) -> None:
        """Nothing holds a table's rows together with its state over REST: its others wait while it is copied."""
        return

    def _resume(self, stored: Stored) -> None:
        self._upto = stored.upto

    def _findings(self, table: Table, present: TargetTable | None) -> Iterator[Finding]:
        yield from super()._findings(table, present)
        if not table.key:
            yield Finding(
                "WS4516",
                table.qualified_name,
                "it has no key, and over REST a row without one could be written twice",
                "use the gateway (docs/targets.md), add a primary key, or leave it out of this target's `tables`",
            )

    async def prepare(self, tables: Sequence[Table]) -> None:
        """Create the tables that are absent and compare the others; those without a key are refused."""
        await super().prepare(tables)
        self._tables = tables
        log.info("d1_rate", target=self.name, remark=self.remarks[0])

    def _cut(self, batch: Batch, reached: Reached) -> Iterator[Slice]:
        for part in self._up_to_what_was_begun(batch):
            for one in self._cut_by_shape(part, reached):
                yield one
                reached = one.after

    def _up_to_what_was_begun(self, batch: Batch) -> Iterator[Batch]:
        """Divide a batch where an interrupted one ended: from there on a row that is missing is a fault again."""
        if not batch.previous < self._upto < batch.position:
            yield batch
            return
        begun = [transaction for transaction in batch.transactions if transaction.commit_lsn < self._upto]
        position = max(self._upto, begun[-1].end_lsn) if begun else self._upto
        yield Batch(batch.previous, position, begun)
        yield Batch(position, batch.position, batch.transactions[len(begun) :])

    def _cut_by_shape(self, batch: Batch, reached: Reached) -> Iterator[Slice]:
        for one in super()._cut(batch, reached):
            if is_one_segment(one.transactions):
                yield one
            else:
                *parts, last = cut(one.transactions, one.after.lsn, one.before, Limits(1, self.limits.size_bytes))
                yield from parts
                yield last._replace(after=one.after)

    def _limits(self, batch: Batch) -> Limits:
        del batch
        return self.limits

    @property
    def _statements(self) -> Write:
        return rest_statements_of

    async def _write(self, writer: Writer, one: Slice, encoding: Encoding) -> None:
        if not isinstance(encoding, RestEncoding):
            raise TypeError("_statements made it")
        self._flushed_at = await self._rest.budget.pace(self._flushed_at)
        upto = max(self._upto, _reach(one.after))
        whose = turn(self._slot, self.name, writer, one.before)
        request = self._request(encoding, one, upto, whose)
        left = upto if upto > one.after.lsn else None
        request.append(end(one.after, None if left is None else str(left), whose))
        swept = bool(encoding.keeps) or self._upto > one.before.lsn
        if swept:
            request.append(sweep(one.after, whose))
        try:
            results = await self._client.batch(request)
        except (GuardRaised, TargetRefused) as error:
            if isinstance(error, GuardRaised) and refuse_guard(error):
                raise await self._store.explain(writer) from None
            self._upto = upto
            if not encoding or (isinstance(error, TargetRefused) and not error.code.startswith("WS43")):
                raise
            raise await name_fault(one.transactions, error, self._plans, self._rest_trial(one, upto, whose)) from None
        if not results[-2 if swept else -1].changes:
            raise await self._store.explain(writer)
        self._upto = left or ZERO

    def _request(self, encoding: RestEncoding, one: Slice, upto: LSN, whose: tuple[str, ...]) -> list[Statement]:
        head = encoding.checks
        if self._upto > one.before.lsn:
            head = [Statement(guarded_sql(plan).put_back) for plan in map(table_plan, self._tables)]
        request = [guarded(statement, whose) for statement in (*head, *encoding.keeps)]
        if encoding:
            request.append(begin(str(upto), whose))
        return request + [guarded(write, whose) for write in encoding.writes]

    def _rest_trial(self, one: Slice, upto: LSN, whose: tuple[str, ...]) -> Trial:
        async def send(transactions: Sequence[Transaction], stop: Statement) -> None:
            encoding = rest_statements_of(transactions, self._plans)
            request: Request = [*self._request(encoding, one, upto, whose), stop]
            await self._client.batch(request)

        return send


def _reach(after: Reached) -> LSN:
    """Tell up to where rows may be in the database: a transaction that stays open counts as a whole."""
    return LSN(max(after.lsn, after.open_commit_lsn + 1 if after.open_commit_lsn else 0))


def make_target(settings: D1Settings, slot: str, *, collapse: bool) -> D1Target:
    """Make the target that the settings lead to."""
    if settings.account_id is None or settings.database_id is None or settings.api_token is None:
        return D1Target(settings, slot, collapse=collapse)
    address = f"{settings.api_url.rstrip('/')}/accounts/{settings.account_id}/d1/database/{settings.database_id}"
    token = settings.api_token
    return RestD1Target(settings, slot, client=RestClient(address, token, f"target {settings.name}", budget_of(token)))
