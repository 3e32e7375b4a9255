"""Source `static`: resources in YAML and JSON files and directories, followed as they change.

`listing` says which files there are, `content` what one holds, `files` what all of them say now;
`writers` which of them are being written, `settling` when one is read and whether it is believed;
`adapter` has the task, `inotify` the kernel's word that something changed.
"""

from adapters.static.adapter import make_adapter

__all__ = ["make_adapter"]
