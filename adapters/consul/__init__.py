"""The Consul source: what an agent says over HTTP, as ServiceEntries.

Pure: `options`, `wire`, `translate`, `inventory`, `pace`. Only `transport` touches sockets, only
`watch` has tasks; both run on trio, without a thread.
"""

from adapters.consul.watch import make_adapter

__all__ = ["make_adapter"]
