"""Step 2: bytes of the pgoutput plugin -> messages. Pure; knows nothing of connections, transactions or targets."""
