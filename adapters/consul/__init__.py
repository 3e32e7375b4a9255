"""The Consul source: what an agent says over HTTP, as ServiceEntries; and registration with it.

Pure: `options`, `wire`, `translate`, `inventory`, `catalog`, `pace`. Only `transport` touches sockets,
only `adapter`, `watch` and `registrar` have tasks; all run on trio, without a thread.
"""

from adapters.consul.adapter import make_adapter

__all__ = ["make_adapter"]
