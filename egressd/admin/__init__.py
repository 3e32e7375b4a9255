"""The admin HTTP API: health, metrics, configuration and endpoint dumps. Read-only views of state."""
