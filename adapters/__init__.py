"""Sources of ServiceEntries. Each is found through the entry-point group `egressd.adapters` and
imports only `egressd.api` and the record and adapter types of `egressd.registry`."""
