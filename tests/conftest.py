"""Names the fixtures' modules; each `fix_*.py` says what it offers."""

import os

from hypothesis import HealthCheck, settings

# No test fails because the machine is busy: a hang is pytest-timeout's to find.
settings.register_profile("walsync", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("walsync")

# What a shell says about colours, widths and its own server is not for the processes that tests start.
for _name in [name for name in os.environ if name.startswith("PG")] + ["NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"]:
    os.environ.pop(_name, None)

# A module comes before those that import it: pytest rewrites the asserts only of what is not imported yet.
pytest_plugins = [
    "fix_logs",
    "fix_walsync",
    "fix_postgres",
    "fix_proxy",
    "fix_replication",
    "fix_isolation",
    "fix_standby",
    "fix_wal2json",
    "fix_check",
    "fix_prometheus",
    "fix_workerd",
    "fix_surrealdb",
    "fix_surrealdb_bench",
]
