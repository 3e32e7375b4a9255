"""What the demo shows: what one is looking at, what came of the requests, what to try. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from egressd.admin.state import ClusterView
from egressd.demo.traffic import Seen

SENTENCE = "a real node on loopback: who answers each name's requests, and how endpoints do"
INTRODUCTION = """\
egressd demo: a real node with two workers on loopback, and four origins.
  shop.demo    two versions, 90 % and 10 %; with x-tester always the second
  secure.demo  speaks TLS alone, with a CA of its own; called in plain HTTP
  flaky.demo   two endpoints; one fails every other request, and is ejected
The demo sends them requests. Look who answers, and what failures lead to.
"""
_CLUSTER, _ENDPOINT = 24, 15  # columns


def board(seen: Seen, clusters: Iterable[ClusterView]) -> list[str]:
    """The state of affairs, a line each; none is wider than 80 columns."""
    lines = [SENTENCE, ""]
    for question in sorted({question for question, _ in seen.answers}):
        answers = sorted((a, n) for (q, a), n in seen.answers.items() if q == question)
        lines.append(f"  {question:<20} " + ", ".join(f"{n} {_named(a)}" for a, n in answers))
    lines.append(
        f"{'cluster':<{_CLUSTER}} {'endpoint':<{_ENDPOINT}} requests  failed  ejected  now"
    )
    for cluster in sorted(clusters, key=lambda one: one.name):
        for one in cluster.endpoints:
            now = "healthy" if one.healthy else f"ejected {one.ejected_for_s:.0f} s"
            lines.append(
                f"{cluster.name:<{_CLUSTER}} {one.id:<{_ENDPOINT}} {one.requests:>8}  "
                f"{one.failures:>6}  {one.times_ejected:>7}  {now}"
            )
    return lines


def _named(answer: str) -> str:
    """An origin by its name, a status or an error as what it is."""
    return f"by {answer}" if not answer[:1].isdigit() else f"with {answer}"


def things_to_try(port: int, command: str) -> list[str]:
    """Lines for another shell, wherever it stands. `command` is the path of a script that runs egressd
    for this node."""
    base = f"http://127.0.0.1:{port}/"
    egressd = f"sh {shlex.quote(command)}"
    return [
        "try in another shell (Ctrl-C here ends the demo)",
        f"  curl -i -H 'Host: shop.demo' -H 'x-tester: yes' {base}",
        f"  curl -i -H 'Host: secure.demo' {base}",
        f"  curl -i -H 'Host: nobody.demo' {base}   # refused, and why",
        f"  {egressd} explain flaky.demo",
        f"  {egressd} status",
    ]


def fits(lines: list[str], width: int, height: int) -> bool:
    """Whether lines can stand on a screen, none of them broken, with the prompt below."""
    return len(lines) < height and all(len(line) <= width for line in lines)
