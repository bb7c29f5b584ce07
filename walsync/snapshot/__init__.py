"""The first copy: all tables as of one position, from which the stream then goes on. It knows nothing of targets."""
