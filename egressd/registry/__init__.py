"""The shared registry: records, precedence, versions, the memory-mapped store and its change log.

Imports `egressd.api` only. Adapters see `records` and `adapter` of this room and nothing else of
egressd but the API types; workers see `view`. One process writes; everybody else reads.
"""
