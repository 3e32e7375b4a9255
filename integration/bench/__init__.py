"""Side-by-side benchmark: the same load through egressd, Envoy, HAProxy, nginx and mitmproxy.

The proxy under test is pinned to one core; load (wrk) and origin (nginx) share the other. The figure
is CPU time of the proxy's whole process tree per request: far steadier than requests per second.
"""
