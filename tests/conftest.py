"""Names the fixtures' modules; each `fix_*.py` says what it offers."""

# A module comes before those that import it: pytest rewrites the asserts only of what is not imported yet.
pytest_plugins = ["fix_walsync", "fix_proxy", "fix_postgres", "fix_replication"]
