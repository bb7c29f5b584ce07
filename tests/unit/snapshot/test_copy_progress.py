"""How far a copy is: rows are lines, and the end is estimated from what the catalogue says, or not at all."""

from walsync.snapshot.progress import CopyProgress


def copied(rows: int, size: int) -> CopyProgress:
    progress = CopyProgress(began=100.0)
    progress.count(rows, size)
    return progress


def test_rows_and_bytes_add_up() -> None:
    progress = copied(2, 12)
    progress.count(1, 4)
    assert (progress.rows, progress.copied_bytes) == (3, 16)


def test_without_an_estimate_there_is_no_end_in_sight() -> None:
    assert copied(10, 100).eta_seconds(110.0) is None


def test_before_the_first_row_there_is_no_end_in_sight() -> None:
    progress = CopyProgress(began=100.0)
    progress.expect(100, 1000)
    assert progress.eta_seconds(110.0) is None


def test_the_end_is_estimated_by_rows_where_they_are_known() -> None:
    progress = copied(25, 900)
    progress.expect(100, 1000)
    assert progress.eta_seconds(110.0) == 30.0


def test_the_end_is_estimated_by_bytes_where_the_table_was_never_analyzed() -> None:
    progress = copied(25, 500)
    progress.expect(None, 1000)
    assert progress.eta_seconds(110.0) == 10.0


def test_more_rows_than_expected_are_about_to_end() -> None:
    progress = copied(200, 500)
    progress.expect(100, 1000)
    assert progress.eta_seconds(110.0) == 0.0
