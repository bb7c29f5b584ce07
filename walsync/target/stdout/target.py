"""The stdout target: prints, then notes in a file of its own what it has printed; after a crash some may come twice.

Nothing that was printed can be taken back: a snapshot that breaks off is printed again from its beginning.
"""

from walsync.target.line_target import LineTarget
from walsync.target.records import Records
from walsync.target.sidecar import Sidecar
from walsync.target.stdout.output import STDOUT, Output
from walsync.target.stdout.settings import StdoutSettings


class StdoutTarget(LineTarget):
    """Lines for whatever stdout leads to, at least once."""

    kind = "stdout"

    def __init__(self, settings: StdoutSettings, slot: str, *, collapse: bool = True, descriptor: int = STDOUT) -> None:
        del collapse  # every change is a line of its own, or a part of one
        super().__init__(
            settings.name,
            slot,
            Records(settings),
            Output(descriptor, settings.name),
            Sidecar(settings.checkpoint_path(slot), slot, settings.name, key="checkpoint"),
        )
