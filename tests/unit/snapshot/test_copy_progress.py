"""How far a copy is: rows are lines, and the end is estimated from what the catalogue says, or not at all."""

from walsync.snapshot.progress import CopyProgress


def copied(rows: int, size: int) -> CopyProgress:
    progress = CopyProgress(began=100.0)
    progress.count(b"\n" * rows + b"." * (size - rows))
    return progress


def test_rows_and_bytes_are_those_of_the_chunks() -> None:
    progress = CopyProgress()
    progress.count(b"1\ta\\nb\n2\t\\N\n")
    progress.count(b"3\tc\n")
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
