"""Real database servers as children of this process, started from files alone: no service, no container, no root.

`PostgresServer` is the server, `from_wheel` finds the files that the extra `walsync[demo]` installs. `keeper` is the
small process between this one and a server that sees to it that neither processes nor folders stay behind.
"""

from walsync.demo.engines.installation import EngineFailed, Installation, from_wheel
from walsync.demo.engines.port import free_port
from walsync.demo.engines.postgres import PostgresServer

__all__ = ["EngineFailed", "Installation", "PostgresServer", "free_port", "from_wheel"]
