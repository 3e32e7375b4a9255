"""The Kubernetes source: Services and EndpointSlices of a cluster as ServiceEntries, or its Istio
resources as they are.

Pure: `options`, `wire`, `endpoints`, `translate`, `inventory`, `resources`. `kubeconfig` reads files,
`client` asks over `adapters.http`, `feed` and `watch` have the tasks; on trio, without a thread.
"""

from adapters.kubernetes.watch import make_adapter

__all__ = ["make_adapter"]
