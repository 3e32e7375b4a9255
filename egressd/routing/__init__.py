"""Compiled route tables: compile, match, print. Pure: no I/O, no clock, no randomness of its own.

Imports `egressd.api` and `egressd.registry`. Works on bytes, as requests arrive, so that nothing is
decoded on the hot path.
"""
