"""The etcd source: keys below a prefix as resources, over gRPC.

Pure: `options`, `wire`, `istio`, `skydns`. Only `rpc` knows gRPC, which is loaded when something
runs and never by importing this package: the supervisor forks, and must have none of gRPC's threads.
"""
