"""The Kubernetes source: Services and EndpointSlices of a cluster, as ServiceEntries.

Pure: `options`, `wire`, `endpoints`, `translate`, `inventory`. `kubeconfig` reads files, `client`
asks over `adapters.http`, `feed` and `watch` have the tasks; all on trio, without a thread.
"""

from adapters.kubernetes.watch import make_adapter

__all__ = ["make_adapter"]
