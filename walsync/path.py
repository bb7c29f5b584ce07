"""What the step to a target needs of the steps before it, and of those beside it."""

from dataclasses import dataclass

from walsync.catch_up import CatchUp
from walsync.checkpoint.acknowledgement import Acknowledgement
from walsync.feed import Feed
from walsync.holding import Hold
from walsync.metrics import Metrics
from walsync.right_of_way import RightOfWay
from walsync.snapshots import Snapshots
from walsync.target.base import Writer
from walsync.upstream import Prepared, Upstream


@dataclass(frozen=True)
class Path:
    """What a delivery needs of the steps before it."""

    upstream: Upstream
    prepared: Prepared
    writer: Writer
    main: Feed
    catch_up: CatchUp
    hold: Hold
    snapshots: Snapshots
    acknowledgement: Acknowledgement
    metrics: Metrics
    way: RightOfWay
