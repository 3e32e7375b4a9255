"""Soak: a real node under checked traffic and disturbances drawn by a seed.

Each request carries an id that its answer repeats, so that an answer which belongs to another request
is seen at once. What a disturbance may cost is written down where it is made (`ledger.Excuses`);
everything else that is lost is a fault. `python -m integration.soak --seconds 60 --seed 7`.
"""
