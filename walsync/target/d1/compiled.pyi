from collections.abc import Callable, Iterable

def write_rows(
    rows: Iterable[bytes], shapes: tuple[int, ...], encoders: tuple[Callable[[bytes | None], bytes], ...]
) -> bytes: ...
