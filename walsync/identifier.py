"""The one function that quotes identifiers; values never pass here, they are parameters."""


def quote(*names: str) -> str:
    """Quote each name and join them with dots: ``quote("public", 'a"b')`` is ``"public"."a""b"``."""
    if any("\0" in name for name in names):
        raise ValueError("an identifier cannot contain a NUL character")
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)
