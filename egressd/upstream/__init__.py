"""The upstream side: clusters, endpoints, subsets, load balancers, circuit breakers, the outlier
detector, DNS, TLS contexts and connection pools.

Decisions (`choose_endpoint`, ejection, admission) are pure and take time and randomness as
arguments. Imports `egressd.api`, `egressd.registry` and the types of `egressd.routing.table`.
"""
