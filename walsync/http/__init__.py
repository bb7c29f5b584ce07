"""What a running instance tells over HTTP: /metrics, /health, /ready, /status. It knows nothing of the pipeline."""
