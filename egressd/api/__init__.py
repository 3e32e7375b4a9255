"""The Istio networking resources as immutable types: parse, validate, render.

This room knows nothing else of egressd and does no I/O: text in, values and problems out.
A resource is parsed here and only here.
"""
