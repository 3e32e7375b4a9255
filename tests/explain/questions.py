"""Questions as tests write them."""

from __future__ import annotations

from egressd.explain.model import Considered, Explanation, Section, Step
from egressd.explain.question import Question


def request(text: str, default_host: str = "vs.example", **more: object) -> Question:
    """ "METHOD target name: value ...", the target absolute for another host."""
    method, target, *words = text.split(" ")
    authority = default_host
    for scheme in ("http://", "https://"):
        if target.startswith(scheme):
            authority, slash, rest = target.removeprefix(scheme).partition("/")
            target = slash + rest or "/"
            if scheme == "https://":
                more = {"is_https": True, "sni": authority.partition(":")[0], **more}
    lines = [f"{method} {target} HTTP/1.1", f"Host: {authority}"]
    lines += [f"{n.removesuffix(':')}: {v}" for n, v in zip(words[::2], words[1::2], strict=True)]
    head = "\r\n".join((*lines, "", "")).encode("latin-1")
    return Question(text, head=head, **more)  # type: ignore[arg-type]


def step(found: Explanation, name: str) -> Step:
    """The one step of a name."""
    (one,) = [one for one in found.steps if one.name == name]
    return one


def why(step: Step, what: str) -> tuple[str, ...]:
    """Why something that was considered was, or was not, taken."""
    return considered(step, what).why


def considered(step: Step, what: str) -> Considered:
    """What was considered, by a part of its words."""
    (one,) = [one for one in step.considered if what in one.what]
    return one


def section(found: Explanation, name: str, destination: int = 0) -> Section:
    """One section of a destination's effective policy."""
    (one,) = [s for s in found.destinations[destination].policy if s.name == name]
    return one
