"""Step 5: batches -> rows and a checkpoint in another database. One folder per kind; `base` is their promise."""
