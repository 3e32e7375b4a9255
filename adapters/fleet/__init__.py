"""Source `fleet`: the resources that all nodes share in a key-value store, and this node's word on them.

Pure: `picture`. `adapter` has the tasks; the store's client comes by entry point.
"""

from adapters.fleet.adapter import make_adapter

__all__ = ["make_adapter"]
