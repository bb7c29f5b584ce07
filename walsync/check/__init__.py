"""The doctor behind ``walsync check``: looks at configuration, source and targets, lists findings, changes nothing.

The rules of the source live in `walsync.source` and `walsync.checkpoint`, which `run` obeys; here they are all asked.
"""
