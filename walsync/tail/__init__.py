"""Reads a slot and prints its transactions: the work behind ``walsync tail``. It has no targets and no checkpoint."""
