"""What ``walsync init`` proposes for a server: a configuration, a role with no more rights than needed, settings.

`survey` looks, in sessions that cannot write; `document` and `statements` turn what was seen into text. Nothing here
changes a server or writes a file.
"""
