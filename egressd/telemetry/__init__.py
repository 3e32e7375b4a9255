"""Metrics and the access log: recorded in workers without I/O, rendered elsewhere.

Imports nothing of egressd but the names it measures.
"""
