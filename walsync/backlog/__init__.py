"""Step 4: what was read and is not yet durable everywhere, with a cursor per target. Pure: it reads no clock."""
