"""What can be wrong with a change of the fleet's resources."""

from __future__ import annotations

from egressd.api.resource import Problem
from egressd.api.secret import RedactedError


class FleetError(RedactedError):
    """Something asked of the fleet cannot be done. The message names the thing and the way out."""


class Refused(FleetError):
    """The change is not written, as the resources would not be valid. `problems` says why."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class ChangedMeanwhile(FleetError):
    """Somebody else changed a resource since its text was read. The message says which."""
