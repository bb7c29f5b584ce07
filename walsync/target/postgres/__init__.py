"""Another Postgres database as a target: set-based statements, and the checkpoint in the same transaction."""
