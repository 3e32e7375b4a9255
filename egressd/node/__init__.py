"""Processes: supervisor, registry process, worker; bootstrap config; systemd. Assembles the rooms."""
