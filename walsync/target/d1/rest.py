"""The way to a D1 database through Cloudflare's REST API, without a Worker.

No page of Cloudflare's says that a request of several statements is a transaction there. So nothing here relies on it:
statements are taken to run in order up to the first that fails, or up to anywhere; `rest_target` writes accordingly.
"""

from collections.abc import Sequence
from typing import Any, Final

import orjson

from walsync.errors import TargetRefused, TargetUnavailable
from walsync.settings import Secret
from walsync.target.base import Finding
from walsync.target.d1.budget import RateBudget, retry_after
from walsync.target.d1.client import NOTHING, read_checkpoint
from walsync.target.d1.engine import MAX_STATEMENTS
from walsync.target.d1.failures import GuardRaised, judge_text
from walsync.target.d1.http_session import Answer, HttpSession
from walsync.target.d1.request import Encoding, Request, Result

_AGAIN: Final = "walsync tries again"
_OK: Final = 200
_SERVER_ERRORS: Final = 500
_TOO_MANY: Final = 429
_FORBIDDEN: Final = (401, 403)

# Cloudflare's codes.
_SQL: Final = 7500
_NO_DATABASE: Final = 7404
_OVERLOADED: Final = 7429
_AUTHENTICATION: Final = (9106, 9109, 10000)


class RestClient:
    """Sends requests to one database of an account."""

    statements = MAX_STATEMENTS
    by_wire = False
    request_bytes = 2 * 1024**2

    def __init__(self, address: str, token: Secret, about: str, budget: RateBudget) -> None:
        """`address` is ``.../accounts/{account}/d1/database/{database}``."""
        self.budget = budget
        self._url = f"{address}/raw"
        self._token = token
        self._about = about
        self._session = HttpSession(about)
        budget.join()

    def exists(self) -> bool:
        """Tell yes: an id leads to a database, or to a refusal."""
        return True

    async def batch(self, request: Request, shared: Encoding = NOTHING, *, create: bool = False) -> list[Result]:
        """Run statements in order; after an error some of them may have been taken."""
        del create  # it is made with wrangler
        statements = [*request, *shared]
        if not statements:
            return []
        body = orjson.dumps({"batch": [{"sql": sql, "params": parameters} for sql, parameters in statements]})
        await self.budget.take()
        headers = {"authorization": f"Bearer {self._token.get_secret_value()}", "content-type": "application/json"}
        answer = await self._session.ask("POST", self._url, [body], headers)
        self.budget.learn(answer.headers)
        content = answer.content
        if answer.status != _OK or not isinstance(content, dict) or content.get("success") is not True:
            raise self._refusal(answer)
        found = [self._result(one) for one in content["result"]]
        if len(found) != len(statements):
            raise TargetUnavailable(
                "WS4102", f"{self._about}: {len(found)} results for {len(statements)} statements", hint=_AGAIN
            )
        return found

    async def checkpoint(self, slot: str, target: str) -> Sequence[Any] | None:
        """Read the row of the checkpoint; None where there is none."""
        return await read_checkpoint(self, slot, target)

    def findings(self) -> Sequence[Finding]:
        """Find nothing: what this way cannot carry is found table by table."""
        return ()

    async def close(self) -> None:
        """Close the connections, and leave the budget to the others."""
        self.budget.leave()
        await self._session.close()

    def _result(self, one: Any) -> Result:  # noqa: ANN401
        if one.get("success") is not True:
            raise TargetUnavailable("WS4102", f"{self._about}: a statement has no result", hint=_AGAIN)
        results = one.get("results") or {}
        return Result([tuple(row) for row in results.get("rows", ())], one.get("meta", {}).get("changes", 0))

    def _refusal(self, answer: Answer) -> TargetUnavailable | TargetRefused | GuardRaised:
        errors = answer.content.get("errors") if isinstance(answer.content, dict) else None
        error = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
        code, text = error.get("code"), str(error.get("message", ""))
        if answer.status == _TOO_MANY or code == _OVERLOADED:
            return self._limited(answer, overloaded=code == _OVERLOADED)
        if code in _AUTHENTICATION or answer.status in _FORBIDDEN:
            return TargetRefused(
                "WS4513",
                f"{self._about}: Cloudflare does not accept its api_token for this account (code {code})",
                hint="make a token with the right Account / D1 / Edit: https://dash.cloudflare.com/profile/api-tokens",
            )
        if code == _NO_DATABASE:
            return TargetRefused(
                "WS4514",
                f"{self._about}: the account has no such database",
                hint="npx wrangler d1 list prints the ids; correct `database_id` or `account_id`",
            )
        if code == _SQL and (judged := judge_text(text, self._about)) is not None:
            return judged
        return TargetUnavailable(
            "WS4102", f"{self._about}: Cloudflare's API answers {answer.status} (code {code})", hint=_AGAIN
        )

    def _limited(self, answer: Answer, *, overloaded: bool) -> TargetUnavailable:
        if overloaded and "Retry-After" not in answer.headers:
            return TargetUnavailable("WS4102", f"{self._about}: D1 is overloaded", hint=_AGAIN)
        self.budget.block(retry_after(answer.headers))
        return TargetUnavailable(
            "WS4515",
            f"{self._about}: its api_token has used up its requests; nothing is sent for"
            f" {self.budget.blocked_seconds:.0f} s",
            hint="see what else uses this token: 1200 requests in 5 minutes are for all together",
        )
