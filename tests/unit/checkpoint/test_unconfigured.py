"""What is said of targets that are registered, and left out of the configuration."""

from uuid import uuid4

import pytest

from walsync.checkpoint.registry import Registration, RegistrationState, refuse_unconfigured
from walsync.errors import ConfigurationError
from walsync.lsn import LSN


def test_every_target_that_is_left_out_is_named_with_its_command() -> None:
    registered = {
        name: Registration(uuid4(), name, "postgres", LSN(1), RegistrationState.REGISTERED)
        for name in ("b", "a", "here")
    }
    with pytest.raises(ConfigurationError) as caught:
        refuse_unconfigured(registered, ["here", "new"])
    assert caught.value.code == "WS5008"
    assert "a, b" in caught.value.message
    assert caught.value.hint.endswith("walsync drop --target a; walsync drop --target b")
