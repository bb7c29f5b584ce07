"""Step 6: what every target has acknowledged -> the LSN that the slot may forget; the registry and the gap guard."""
