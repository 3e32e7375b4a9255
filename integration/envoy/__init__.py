"""Envoy as an independent witness: the same resources as an Envoy configuration."""
