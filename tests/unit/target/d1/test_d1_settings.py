"""One of three ways leads to a D1 database: what is missing, does not go together, or would travel unencrypted."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from walsync.settings import Secret
from walsync.target.d1.embedded import EmbeddedClient
from walsync.target.d1.gateway import GatewayClient
from walsync.target.d1.rest import RestClient
from walsync.target.d1.rest_target import make_target
from walsync.target.d1.settings import D1Settings

EMBEDDED = {"url": "sqlite:///data/local.sqlite"}
GATEWAY = {"url": "https://gateway.example.workers.dev", "database": "DB_WEUR", "secret": "s3cret"}
REST = {"account_id": "0123456789abcdef", "database_id": "01234567-89ab", "api_token": "t0ken"}


def settings(keys: dict[str, Any]) -> D1Settings:
    return D1Settings.model_validate({"name": "weur", "type": "d1", **keys})


@pytest.mark.parametrize(
    ("keys", "client"),
    [
        (EMBEDDED, EmbeddedClient),
        (GATEWAY, GatewayClient),
        ({**GATEWAY, "url": "http://127.0.0.1:8787"}, GatewayClient),
        (REST, RestClient),
        ({**REST, "api_url": "http://127.0.0.1:8080/client/v4"}, RestClient),
    ],
)
async def test_the_keys_choose_the_way(keys: dict[str, str], client: type[object]) -> None:
    target = make_target(settings(keys), "walsync", collapse=True)
    assert isinstance(target._client, client)
    await target.close()


@pytest.mark.parametrize("url", [EMBEDDED["url"], "sqlite:////data/local.sqlite"])
def test_the_file_of_an_embedded_database_is_its_path(url: str) -> None:
    assert settings({"url": url}).path == Path("/data/local.sqlite")


@pytest.mark.parametrize("keys", [GATEWAY, REST])
def test_secrets_are_masked_wherever_settings_are_shown(keys: dict[str, str]) -> None:
    shown = repr(settings(keys)) + settings(keys).model_dump_json()
    assert not any(secret in shown for secret in ("s3cret", "t0ken"))


@pytest.mark.parametrize(
    ("keys", "code", "at"),
    [
        ({}, "WS1052", ()),
        ({"database": "DB_WEUR", "secret": "x"}, "WS1052", ("account_id",)),
        ({**EMBEDDED, "secret": "x"}, "WS1052", ("secret",)),
        ({**GATEWAY, "secret": None}, "WS1052", ("secret",)),
        ({**GATEWAY, "secret": ""}, "WS1052", ("secret",)),
        ({**GATEWAY, "api_token": "x"}, "WS1052", ("api_token",)),
        ({**REST, "api_token": None}, "WS1052", ("api_token",)),
        ({**REST, "database": "DB_WEUR"}, "WS1052", ("database",)),
        ({**EMBEDDED, "url": "sqlite://relative"}, "WS1026", ()),
        ({**EMBEDDED, "url": "ftp://x"}, "WS1026", ()),
        ({**GATEWAY, "url": "https://user:password@x.dev"}, "WS1051", ()),
        ({**GATEWAY, "url": "https://x.dev/?a=b"}, "WS1051", ()),
        ({**GATEWAY, "url": "https://"}, "WS1051", ()),
        ({**GATEWAY, "url": "https://x:port"}, "WS1051", ()),
        ({**REST, "api_url": "http://api.example.com"}, "WS1051", ()),
    ],
)
def test_what_leads_nowhere_is_refused_by_its_key(keys: dict[str, Any], code: str, at: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError) as refused:
        settings(keys)
    (error,) = refused.value.errors()
    assert (error["ctx"]["code"], error["ctx"]["at"]) == (code, at)
    assert "password" not in str(error["ctx"])


@pytest.mark.parametrize("name", ["WEUR", "DB_weur", "DB_", "DB_A-B"])
def test_a_binding_has_the_form_of_one(name: str) -> None:
    with pytest.raises(ValidationError):
        settings({**GATEWAY, "database": name})


def test_a_secret_is_one() -> None:
    assert settings(GATEWAY).secret == Secret("s3cret")
