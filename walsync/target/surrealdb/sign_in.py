"""Who walsync is to a SurrealDB server: what a sign-in sends, and for how long it holds."""

from collections.abc import Mapping
from typing import Any, Final

from walsync.target.surrealdb.settings import SurrealDBSettings

SESSION: Final = "RETURN $session"

_USED_UP: Final = 0.75
"""The part of its life after which a sign-in is renewed; a request that is under way then still fits in."""


def credentials(settings: SurrealDBSettings) -> dict[str, str]:
    """Write what `signin` takes: where the user is defined says who it is."""
    place = {"NS": settings.namespace, "DB": settings.database}
    if settings.access:
        secrets = {name: value.get_secret_value() for name, value in settings.credentials.items()}
        return {**secrets, **place, "AC": settings.access}
    user = {"user": settings.username, "pass": settings.password.get_secret_value()}
    names = {"root": (), "namespace": ("NS",), "database": ("NS", "DB")}[settings.level]
    return {**user, **{name: place[name] for name in names}}


def renew_after_seconds(session: Mapping[str, Any]) -> float | None:
    """Tell from `$session` when to sign in again; None where it never ends.

    Only the server's clock is used: of its token it says when it was made, and of both when they end.
    """
    token = session.get("tk")
    if not isinstance(token, Mapping) or not isinstance(token.get("iat"), int):
        return None
    ends = [end for end in (token.get("exp"), session.get("exp")) if isinstance(end, int)]
    return (min(ends) - token["iat"]) * _USED_UP if ends else None
