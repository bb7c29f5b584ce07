"""What wal2json would have printed, from a stream that the plugin never saw: its options and its two formats. Pure."""

from walsync.wal2json.options import Options, parse
from walsync.wal2json.renderer import Renderer

__all__ = ["Options", "Renderer", "parse"]
