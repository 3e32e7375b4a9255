"""The DNS source: names that the bootstrap lists, as ServiceEntries with the answers as endpoints.

Pure: `options`, `translate`, `names`. `adapter` has the tasks; asking is `egressd.dns`.
"""

from adapters.dns.adapter import make_adapter

__all__ = ["make_adapter"]
