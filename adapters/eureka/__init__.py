"""The Eureka source: what a Eureka server lists over HTTP, as ServiceEntries.

Pure: `options`, `wire`, `translate`, `inventory`, `doubt`. Only `client` talks, only `watch` decides
when.
"""

from adapters.eureka.watch import make_adapter

__all__ = ["make_adapter"]
