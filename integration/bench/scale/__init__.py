"""Scale of the registry: 10,000 services with 100,000 endpoints in front of one node.

    python -m integration.bench.scale --source etcd,consul

Figures: time until all workers route by a change, throughput under 100 changes a second, memory, time
to ready. The node and the load are pinned to a core each, as in `integration.bench`.
"""
