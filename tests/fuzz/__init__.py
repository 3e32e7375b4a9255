"""Fuzz targets for what strangers send: heads, chunks, ClientHellos, PROXY headers, DNS messages.

A short time each in the tests, long by hand: `python -m tests.fuzz --seconds 600 request_head`.
What breaks a target is kept in `corpus/`, where every file is a regression test.
"""
