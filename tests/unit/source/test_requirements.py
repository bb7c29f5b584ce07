import pytest

from walsync.source.requirements import release_to_take


@pytest.mark.parametrize(
    ("server_version", "release"),
    [
        (140017, "14.18"),
        (140018, None),
        (150012, "15.13"),
        (150018, None),
        (160008, "16.9"),
        (160009, None),
        (170000, "17.5"),
        (170004, "17.5"),
        (170005, None),
        (180000, None),
        (190000, None),
    ],
)
def test_a_release_that_may_leave_out_changes_of_new_tables_is_known(server_version: int, release: str | None) -> None:
    assert release_to_take(server_version) == release
