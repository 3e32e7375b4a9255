"""The `egressd` command: click commands that read the registry, the admin API or files."""
