"""What holds for every unit test."""

from __future__ import annotations

from hypothesis import settings

# A busy machine is no fault of what is tested.
settings.register_profile("egressd", deadline=None)
settings.load_profile("egressd")
