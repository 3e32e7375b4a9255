"""The demo's own traffic and what it saw of the answers."""

from __future__ import annotations

import http.client
from collections import Counter
from dataclasses import dataclass, field

_TIMEOUT_S = 5.0


@dataclass(slots=True)
class Seen:
    """Answers by what was asked: (question, origin or status) to count."""

    answers: Counter[tuple[str, str]] = field(default_factory=Counter)

    def count(self, question: str, answer: str) -> int:
        return self.answers[(question, answer)]

    def failures(self) -> list[str]:
        """What did not work as the demo promises; empty when all did."""
        wrong = []
        v1, v2 = self.count("shop.demo", "v1"), self.count("shop.demo", "v2")
        if not v1 or not v2 or v2 > v1:
            wrong.append(f"the 90/10 split of shop.demo: v1 {v1}, v2 {v2}")
        testers = {a: n for (q, a), n in self.answers.items() if q == "shop.demo x-tester"}
        if set(testers) != {"v2"}:
            wrong.append(f"the header match of shop.demo: {testers}, expected v2 only")
        if not self.count("secure.demo", "tls"):
            wrong.append("TLS origination to secure.demo: no answer of the TLS origin")
        return wrong


class Client:
    """One keep-alive connection to the egress port."""

    def __init__(self, port: int, seen: Seen) -> None:
        self._port = port
        self._seen = seen
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)

    def ask(self, host: str, **headers: str) -> None:
        """One GET, noted under the host and its headers' names."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        question = " ".join([host, *names])
        try:
            self._connection.request("GET", "/", headers={"Host": host, **names})
            response = self._connection.getresponse()
            response.read()
            answer = response.getheader("x-origin") or str(response.status)
            if response.status != 200:
                answer = str(response.status)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            answer = type(error).__name__
        self._seen.answers[(question, answer)] += 1

    def round(self) -> None:
        """A little of everything."""
        for _ in range(6):
            self.ask("shop.demo")
        self.ask("shop.demo", x_tester="yes")
        self.ask("secure.demo")
        for _ in range(6):
            self.ask("flaky.demo")

    def close(self) -> None:
        self._connection.close()
