"""Step 1: WAL frames out of one logical replication slot, the confirmed LSN into it; and the source's catalogue."""
