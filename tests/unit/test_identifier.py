import pytest

from walsync.identifier import quote


def test_every_name_is_quoted_and_its_quotes_doubled() -> None:
    assert quote("public", 'a"b.c') == '"public"."a""b.c"'


def test_a_name_with_a_nul_is_refused() -> None:
    with pytest.raises(ValueError, match="NUL"):
        quote("a\0b")
