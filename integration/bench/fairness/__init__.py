"""What one client can do to others, as figures: `python -m integration.bench.fairness`.

Nothing is asserted: what is fair on a given machine is for the reader to say, best beside the figures
of another checkout (`--tree DIR`).
"""
