"""Beside step 3: transactions -> records of bytes, for people and programs; one renderer per format, no I/O."""
