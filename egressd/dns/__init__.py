"""The resolver of the node: questions to name servers, answers held by TTL, kept through failures.

`answer`, `held`, `servers` and `hosts` are pure; `exchange` alone touches sockets, `resolver` and
`watch` are the trio shell. Imports nothing of egressd: workers and adapters both build on it. Names are
imported from their modules: who only checks a server's address need not load trio and dnspython.
"""
