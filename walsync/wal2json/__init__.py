"""What wal2json would have printed, from a stream that the plugin never saw: its options and its two formats. Pure."""
