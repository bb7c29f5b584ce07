"""What `walsync demo` runs on: real databases that start from a package's files and leave nothing behind.

It does no work for the service itself; the tests use its engines too.
"""
