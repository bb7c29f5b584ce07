"""One HTTP client for one target: connections that are kept, timeouts on everything, and failures without secrets.

TLS is verified against the system's authorities. HTTPS_PROXY, HTTP_PROXY and NO_PROXY are respected.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import aiohttp
import orjson
from aiohttp.abc import AbstractStreamWriter

from walsync.errors import TargetUnavailable

_TIMEOUT: Final = aiohttp.ClientTimeout(total=60, sock_connect=10)
"""D1 ends a batch after 30 s; the rest is for the way there and back."""

_PIECE_BYTES: Final = 256 * 1024
_AGAIN: Final = "walsync tries again"


class Answer(NamedTuple):
    """What came back; `content` is the JSON document, or None where the body is none."""

    status: int
    headers: Mapping[str, str]
    content: Any


class HttpSession:
    """Sends requests and reads whole answers. What fails is not sent again: that is the target's to decide."""

    def __init__(self, about: str) -> None:
        self._about = about
        self._session: aiohttp.ClientSession | None = None

    async def ask(self, method: str, url: str, body: Sequence[bytes], headers: Mapping[str, str]) -> Answer:
        """Send a request, its body in parts; TargetUnavailable WS4101 where nobody was reached, else WS4102."""
        try:
            async with self._open().request(
                method, url, data=_Parts(body) if body else None, headers=headers, allow_redirects=False
            ) as answer:
                return Answer(answer.status, answer.headers, _json(await answer.read()))
        except aiohttp.ClientConnectorCertificateError:
            raise TargetUnavailable(
                "WS4101",
                f"{self._about}: the certificate of the server in its url is not to be trusted",
                hint="compare the url; where a proxy or a company's authority is in between, add it with SSL_CERT_FILE",
            ) from None
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientHttpProxyError) as error:
            raise TargetUnavailable(
                "WS4101",
                f"{self._about}: cannot connect: {_reason(error)}",
                hint="see that the url leads to the server from here, and what HTTPS_PROXY says",
            ) from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # An error's own text may quote the address of a proxy, with its password.
            raise TargetUnavailable(
                "WS4102", f"{self._about}: the request was cut off: {_reason(error)}", hint=_AGAIN
            ) from None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=_TIMEOUT, trust_env=True, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=True
            )
        return self._session


class _Parts(aiohttp.payload.Payload):
    """A body of parts that others may send as well: nothing is copied, and the event loop gets its turn in between."""

    _default_content_type = "application/octet-stream"

    def __init__(self, parts: Sequence[bytes]) -> None:
        super().__init__(parts)
        self._size = sum(map(len, parts))

    async def write(self, writer: AbstractStreamWriter) -> None:
        for part in self._value:
            view = memoryview(part)
            for start in range(0, len(view), _PIECE_BYTES):
                await writer.write(view[start : start + _PIECE_BYTES])

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return b"".join(self._value).decode(encoding, errors)


def _json(content: bytes) -> Any:  # noqa: ANN401
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return None


def _reason(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the name of the server is not known"
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error.strerror or type(error.os_error).__name__
    return "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
