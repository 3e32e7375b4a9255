"""The outlier detector: tables of single decisions, and a machine against a plain re-statement."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from egressd.upstream.outlier import (
    HostHealth,
    Outcome,
    current_multiplier,
    eject,
    may_eject,
    observe,
    outcome_of_status,
)
from egressd.upstream.spec import OutlierPolicy

OK, SERVER, GATEWAY = Outcome.SUCCESS, Outcome.SERVER_ERROR, Outcome.GATEWAY_ERROR
LOCAL, TIMEOUT = Outcome.LOCAL_ORIGIN, Outcome.TIMEOUT


def rules_of(policy: OutlierPolicy, *outcomes: Outcome) -> list[Outcome | None]:
    """The rule that each outcome in a row asks an ejection by."""
    health, asked = HostHealth(), []
    for outcome in outcomes:
        health, rule_ = observe(health, policy, outcome, 1.0)
        asked.append(rule_)
    return asked


@pytest.mark.parametrize(
    ("codes", "status", "outcome"),
    [
        ((), 200, OK),
        ((), 404, OK),
        ((), 500, SERVER),
        ((), 501, SERVER),
        ((), 502, GATEWAY),
        ((), 503, GATEWAY),
        ((), 504, GATEWAY),
        ((), 505, SERVER),
        ((429, 502), 429, SERVER),
        ((429, 502), 502, GATEWAY),
        ((429, 502), 500, OK),
        ((429, 502), 503, OK),
    ],
)
def test_which_statuses_count(codes: tuple[int, ...], status: int, outcome: Outcome) -> None:
    assert outcome_of_status(OutlierPolicy(error_statuses=frozenset(codes)), status) is outcome


@pytest.mark.parametrize(
    ("policy", "outcomes", "rule_"),
    [
        (OutlierPolicy(consecutive_5xx=3), (SERVER, GATEWAY, LOCAL), SERVER),
        (OutlierPolicy(consecutive_5xx=3), (SERVER, SERVER, OK, SERVER, SERVER), None),
        (OutlierPolicy(consecutive_5xx=0), (SERVER,) * 20, None),
        (OutlierPolicy(consecutive_5xx=0, consecutive_gateway=2), (GATEWAY, GATEWAY), GATEWAY),
        (OutlierPolicy(consecutive_5xx=0, consecutive_gateway=2), (LOCAL, TIMEOUT), GATEWAY),
        (
            OutlierPolicy(consecutive_5xx=0, consecutive_gateway=2),
            (GATEWAY, SERVER, GATEWAY),
            None,
        ),
        (OutlierPolicy(consecutive_5xx=2, consecutive_gateway=2), (GATEWAY, GATEWAY), GATEWAY),
        (
            OutlierPolicy(split_local_origin=True, consecutive_5xx=2, consecutive_local_origin=3),
            (LOCAL, TIMEOUT, LOCAL),
            LOCAL,
        ),
        (
            OutlierPolicy(split_local_origin=True, consecutive_5xx=2, consecutive_local_origin=3),
            (LOCAL, LOCAL, SERVER, LOCAL),
            None,
        ),
        (
            OutlierPolicy(split_local_origin=True, consecutive_5xx=2, consecutive_local_origin=9),
            (SERVER, LOCAL, SERVER),
            SERVER,
        ),
    ],
)
def test_which_rows_of_outcomes_ask_for_an_ejection(
    policy: OutlierPolicy, outcomes: tuple[Outcome, ...], rule_: Outcome | None
) -> None:
    asked = rules_of(policy, *outcomes)
    assert asked[-1] is rule_
    assert not any(asked[:-1])


def test_a_counter_starts_anew_after_an_ejection_was_refused() -> None:
    asked = rules_of(OutlierPolicy(consecutive_5xx=2), *(SERVER,) * 5)
    assert asked == [None, SERVER, None, SERVER, None]


def test_nothing_is_counted_while_ejected() -> None:
    policy = OutlierPolicy(consecutive_5xx=1)
    ejected = eject(HostHealth(), policy, 100.0)
    assert observe(ejected, policy, SERVER, 129.9) == (ejected, None)
    assert observe(ejected, policy, SERVER, 130.0)[1] is SERVER


@pytest.mark.parametrize(
    ("percent", "always_one", "ejected", "total", "allowed"),
    [
        (10, False, 0, 2, False),
        (10, True, 0, 2, True),
        (10, True, 1, 2, False),
        (10, True, 0, 1, False),
        (100, False, 0, 1, True),
        (10, False, 0, 10, True),
        (10, False, 1, 10, False),
        (50, False, 1, 4, True),
        (50, False, 2, 4, False),
        (100, False, 3, 4, True),
        (50, True, 0, 0, False),
    ],
)
def test_ejection_is_refused_past_max_percent(
    percent: int, always_one: bool, ejected: int, total: int, allowed: bool
) -> None:
    policy = OutlierPolicy(max_ejection_percent=percent, always_eject_one=always_one)
    assert may_eject(policy, ejected, total) is allowed


@pytest.mark.parametrize(
    ("base", "longest", "lasts"),
    [
        (30.0, 300.0, [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300]),
        (200.0, 300.0, [200, 300, 300]),
        (400.0, 300.0, [400, 400]),
    ],
)
def test_ejections_grow_to_the_maximum(base: float, longest: float, lasts: list[float]) -> None:
    policy = OutlierPolicy(base_ejection_s=base, max_ejection_s=longest)
    health, now, seen = HostHealth(), 50.0, []
    for _ in lasts:
        health = eject(health, policy, now)
        seen.append(health.ejected_until - now)
        now = health.ejected_until
    assert seen == lasts


def test_the_multiplier_stands_still_at_the_longest_ejection() -> None:
    policy = OutlierPolicy(base_ejection_s=30.0, max_ejection_s=90.0)
    health, now = HostHealth(), 0.0
    for _ in range(50):
        health = eject(health, policy, now)
        now = health.ejected_until
    assert health.multiplier == 3


def test_each_interval_in_service_takes_one_off_the_multiplier() -> None:
    policy = OutlierPolicy(interval_s=10.0)
    health = HostHealth(ejected_until=100.0, multiplier=3)
    at = {
        t: current_multiplier(health, policy, t) for t in (99.0, 100.0, 109.0, 110.0, 120.0, 999.0)
    }
    assert at == {99.0: 3, 100.0: 3, 109.0: 3, 110.0: 2, 120.0: 1, 999.0: 0}


class PlainEndpoint:
    """The same rules told again from the whole history, slowly."""

    def __init__(self, policy: OutlierPolicy) -> None:
        self.policy = policy
        self.ejections: list[tuple[int, int]] = []
        self.seen: list[Outcome] = []  # in service, since the last return
        self.fired: dict[Outcome, int] = {}  # rule -> how much of `seen` is forgotten by it

    def is_ejected(self, now: int) -> bool:
        return any(start <= now < end for start, end in self.ejections)

    def row(self, rule_: Outcome) -> int:
        """How many errors in a row a rule sees now."""
        count = 0
        for outcome in reversed(self.seen[self.fired.get(rule_, 0) :]):
            is_local = outcome in (LOCAL, TIMEOUT)
            external = not (is_local and self.policy.split_local_origin)
            if rule_ is LOCAL:
                if external:
                    break
                count += 1
            elif external:
                if outcome is OK or (rule_ is GATEWAY and outcome is SERVER):
                    break
                count += 1
        return count

    def multiplier(self, now: int) -> int:
        base = int(self.policy.base_ejection_s)
        longest = max(int(self.policy.max_ejection_s), base)
        value, since = 0, 0
        for start, end in [*self.ejections, (now, now)]:
            while since + int(self.policy.interval_s) <= start and value:
                since += int(self.policy.interval_s)
                value -= 1
            if start < end and base * value < longest:
                value += 1
            since = end
        return value

    def see(self, outcome: Outcome, now: int) -> Outcome | None:
        if self.is_ejected(now):
            return None
        self.seen.append(outcome)
        policy = self.policy
        thresholds = {
            GATEWAY: policy.consecutive_gateway,
            SERVER: policy.consecutive_5xx,
            LOCAL: policy.consecutive_local_origin if policy.split_local_origin else 0,
        }
        asked = [r for r, most in thresholds.items() if 0 < most <= self.row(r)]
        for r in asked:
            self.fired[r] = len(self.seen)
        return asked[0] if asked else None

    def eject(self, now: int) -> None:
        base = int(self.policy.base_ejection_s)
        longest = max(int(self.policy.max_ejection_s), base)
        before = self.multiplier(now)
        times = before + 1 if base * before < longest else before
        self.ejections.append((now, now + min(base * times, longest)))
        self.seen, self.fired = [], {}


class DetectorMachine(RuleBasedStateMachine):
    """Any history: the detector and its re-statement say the same."""

    @initialize(
        server=st.integers(0, 4),
        gateway=st.integers(0, 3),
        local=st.integers(1, 3),
        split=st.booleans(),
        base=st.integers(1, 8),
        longest=st.integers(1, 20),
        interval=st.integers(1, 6),
    )
    def start(
        self,
        server: int,
        gateway: int,
        local: int,
        split: bool,
        base: int,
        longest: int,
        interval: int,
    ) -> None:
        self.policy = OutlierPolicy(
            consecutive_5xx=server,
            consecutive_gateway=gateway,
            consecutive_local_origin=local,
            split_local_origin=split,
            base_ejection_s=float(base),
            max_ejection_s=float(longest),
            interval_s=float(interval),
        )
        self.health = HostHealth()
        self.plain = PlainEndpoint(self.policy)
        self.now = 1

    @rule(
        outcomes=st.lists(st.sampled_from(Outcome), min_size=1, max_size=6), allowed=st.booleans()
    )
    def outcomes_come(self, outcomes: list[Outcome], allowed: bool) -> None:
        for outcome in outcomes:
            self.health, asked = observe(self.health, self.policy, outcome, float(self.now))
            assert asked is self.plain.see(outcome, self.now)
            if asked is not None and allowed:
                self.health = eject(self.health, self.policy, float(self.now))
                self.plain.eject(self.now)

    @rule(seconds=st.integers(1, 30))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    @invariant()
    def both_agree(self) -> None:
        if not hasattr(self, "plain"):
            return
        assert self.health.is_ejected(float(self.now)) is self.plain.is_ejected(self.now)
        if not self.plain.is_ejected(self.now):
            multiplier = current_multiplier(self.health, self.policy, float(self.now))
            assert multiplier == self.plain.multiplier(self.now)


TestDetectorMachine = DetectorMachine.TestCase
TestDetectorMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
