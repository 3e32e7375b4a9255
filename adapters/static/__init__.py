"""Source `static`: resources in YAML and JSON files and directories, followed as they change."""

from adapters.static.adapter import make_adapter

__all__ = ["make_adapter"]
