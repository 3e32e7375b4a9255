"""The admin HTTP API: health, metrics, configuration and endpoint dumps. Views of state, and one
action: confirming a mass loss."""
