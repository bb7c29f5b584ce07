"""SurrealDB as a target: whole batches as CBOR, and the checkpoint in the same transaction."""
