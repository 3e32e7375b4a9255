"""The downstream side: listeners, the HTTP/1.1 codec, CONNECT, and the life of one exchange.

The codec is sans-I/O. Sockets are touched only through `readiness`. Imports `routing`, `upstream`
and `telemetry`; never `node`.
"""
