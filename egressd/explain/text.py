"""An explanation for people: numbered steps, indented reasons."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from egressd.api.counted import counted
from egressd.explain.model import (
    ALWAYS,
    By,
    Considered,
    DestinationLine,
    EndpointLine,
    Explanation,
    MirrorLine,
    Outcome,
    Section,
    Step,
    Value,
)

_LABEL = 17  # columns of "1  listener      "
_IN = " " * _LABEL
_NARROW = 70  # columns below which lines stand further out
_OUT = 3


def render_text(found: Explanation, width: int = 0) -> str:
    """The whole as text, its lines folded at spaces to a width in columns; 0 = never."""
    lines = _Text().render(found)
    return "".join(f"{line}\n" for one in lines for line in _folded(one, width))


class _Line(NamedTuple):
    """A line, and what stands before each further one where it is folded."""

    text: str
    indent: str


def _folded(line: _Line, width: int) -> list[str]:
    text, indent = line
    if 0 < width < _NARROW:
        text, indent = _further_out(text), _further_out(indent)
    if not 0 < width < len(text):
        return [text.rstrip()]
    return textwrap.wrap(
        text,
        width,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
        drop_whitespace=True,
    )


def _further_out(text: str) -> str:
    """The same with less room for the labels, which stand in front of what they name."""
    if text.startswith(_IN):
        return text[_LABEL - _OUT :]
    if text[:1].isdigit():
        return f"{text[:_OUT]}{text[_OUT:_LABEL].rstrip()} {text[_LABEL:].lstrip()}"
    return text


class _Text:
    """Lines as they come; a place is given in full where its resource is named first."""

    def __init__(self) -> None:
        self._placed: set[tuple[str, str]] = set()
        self._number = 0
        self._policy_of: DestinationLine | None = None  # the first one shown

    def render(self, found: Explanation) -> list[_Line]:
        lines = [_Line(found.asked, "  "), *_wrapped(f"=> {outcome_words(found.outcome)}", "   ")]
        for name, value in found.outcome.headers:
            lines += _wrapped(f"   {name}: {value}", "     ")
        lines.append(_Line("", ""))
        for step in found.steps:
            lines += self._step(step)
        for mirror in found.mirrors:
            lines += self._labelled("mirror", _mirror(mirror))
        for destination in found.destinations:
            lines += self._destination(destination)
        return lines

    def _step(self, step: Step) -> Iterator[_Line]:
        yield from self._labelled(step.name, self._by(step.says, step.by))
        if not _says_no_more(step):
            for one in step.considered:
                yield from self._considered(one)
        for note in step.notes:
            yield from _wrapped(f"{_IN}- {note}", f"{_IN}  ")

    def _labelled(self, label: str, text: str) -> list[_Line]:
        self._number += 1
        return _wrapped(f"{self._number:<3}{label:<{_LABEL - 3}}{text}", _IN)

    def _considered(self, one: Considered) -> Iterator[_Line]:
        mark = "yes" if one.chosen else "no "
        yield from _wrapped(f"{_IN}{mark}  {one.what}{self._place(one.by)}", f"{_IN}     ")
        for why in one.why:
            yield from _wrapped(f"{_IN}       {why}", f"{_IN}         ")

    def _by(self, says: str, by: By | None) -> str:
        if by is None:
            return says
        name = f"{by.ref} {by.field}".rstrip()
        return f"{says}; by {name}{self._place(by)}"

    def _place(self, by: By | None) -> str:
        if by is None or not (by.file or by.source) or (by.ref, by.source) in self._placed:
            return ""
        self._placed.add((by.ref, by.source))
        if by.file:
            return f" ({by.file}:{by.line})" if by.line else f" ({by.file})"
        return f" ({by.source}: {by.origin})" if by.origin else f" ({by.source})"

    def _destination(self, line: DestinationLine) -> Iterator[_Line]:
        yield from self._labelled("destination", f"{line.cluster}, {line.share:g} %")
        if line.problem is not None:
            yield from _wrapped(f"{_IN}=> {outcome_words(line.problem)}", f"{_IN}   ")
        for by in line.service_entries:
            resolved = f"resolution {line.resolution}, port {line.port} {line.protocol}"
            yield from _wrapped(f"{_IN}{by.ref}{self._place(by)}: {resolved}", f"{_IN}  ")
        for rule in line.destination_rules:
            yield from self._considered(rule)
        for note in line.notes:
            yield from _wrapped(f"{_IN}- {note}", f"{_IN}  ")
        yield from self._policy(line)
        yield from _endpoints(line)

    def _policy(self, line: DestinationLine) -> Iterator[_Line]:
        """What is written, section by section, then what has its default; of a further destination what
        differs from the first one's."""
        shown = line.policy
        if self._policy_of is not None:
            shown = tuple(one for one in shown if one not in self._policy_of.policy)
            but = ", but" if shown else ""
            yield from _wrapped(f"{_IN}policy of {self._policy_of.cluster}{but}", f"{_IN}  ")
        elif shown:
            self._policy_of = line
        for section in shown:
            if section.origin not in ("default", "cleared"):
                yield from _section(section)
        cleared = [section for section in shown if section.origin == "cleared"]
        if cleared and cleared[0].by is not None:
            place = f"{cleared[0].by.ref} {cleared[0].by.field}"
            yield from _defaults(f"by default, since {place} leaves them out", cleared)
        yield from _defaults("by default", [one for one in shown if one.origin == "default"])


def _says_no_more(step: Step) -> bool:
    """The only thing that was looked at is the one that decided."""
    if len(step.considered) != 1 or step.by is None:
        return False
    (one,) = step.considered
    return one.chosen and one.by == step.by and set(one.why) <= {ALWAYS}


def outcome_words(outcome: Outcome) -> str:
    """The outcome in one line."""
    flag = f", flag {outcome.flag}" if outcome.flag else ""
    details = f" [{outcome.details}]" if outcome.details and outcome.flag else ""
    if outcome.kind == "answered":
        return f"{outcome.status}{flag}: {outcome.says}{details}"
    if outcome.kind == "closed":
        return f"closed{flag}: {outcome.says}{details}"
    return outcome.says


def _mirror(mirror: MirrorLine) -> str:
    dropped = f"; {mirror.problem}" if mirror.problem else ""
    return f"{mirror.percent:g} % copied to {mirror.cluster}, Host {mirror.authority}{dropped}"


def _section(section: Section) -> Iterator[_Line]:
    """A section that somebody wrote: what it sets, what it leaves unset, and where it stands."""
    values = {name: v for name, v in section.values.items() if v is not None}
    said = _said(section, values)
    unset = " ".join(_name(name) for name, v in section.values.items() if v is None)
    parts = [said, f"not set: {unset}" if unset else ""]
    place = f"{section.by.ref} {section.by.field}" if section.by is not None else section.origin
    text = "; ".join(filter(None, parts))
    yield from _wrapped(f"{_IN}{section.name}: {text} ({place})", f"{_IN}  ")
    for note in section.notes:
        yield from _wrapped(f"{_IN}  - {note}", f"{_IN}    ")


def _defaults(label: str, sections: list[Section]) -> list[_Line]:
    if not sections:
        return []
    words = "; ".join(map(_default, sections))
    return _wrapped(f"{_IN}{label}: {words}", f"{_IN}  ")


def _default(section: Section) -> str:
    values = {name: v for name, v in section.values.items() if v is not None}
    if not values or section.values.get("enabled") is False:
        return f"no {section.name}"
    return f"{section.name} {_said(section, values)}"


def _said(section: Section, values: Mapping[str, Value]) -> str:
    """Values by their names; one that is called as its section goes without."""
    return ", ".join(
        _value(name, v) if _name(name) == section.name else f"{_name(name)} {_value(name, v)}"
        for name, v in values.items()
    )


def _name(name: str) -> str:
    return name.removesuffix("_s")


def _value(name: str, value: Value) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return " ".join(value) or "none"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return f"{value:g} s" if name.endswith("_s") else f"{value:g}"
    return value or "none"


def _endpoints(line: DestinationLine) -> Iterator[_Line]:
    many = len(line.levels) > 1
    for rank, level in enumerate(line.levels):
        if many:
            yield _Line(f"{_IN}level {rank}, {level.share:g} %", f"{_IN}  ")
        indent = f"{_IN}  " if many else _IN
        for endpoint in level.endpoints:
            yield from _wrapped(f"{indent}endpoint {_endpoint(endpoint)}", f"{indent}  ")
    if line.hashing is not None:
        choice = line.hashing
        to = f" -> {', '.join(choice.endpoints)}" if choice.endpoints else ""
        key = "the choice is random" if choice.key is None else f"key {choice.key:016x}{to}"
        yield from _wrapped(f"{_IN}hashing  {choice.by}: {key}", f"{_IN}  ")


def _endpoint(endpoint: EndpointLine) -> str:
    health = endpoint.health if endpoint.health != "unknown" else "health unknown"
    if endpoint.health == "ejected":
        health = (
            f"ejected for {endpoint.ejected_for_s:g} s, {counted(endpoint.times_ejected, 'time')}"
        )
    elif endpoint.consecutive_errors:
        health += f", {counted(endpoint.consecutive_errors, 'error')} in a row"
    name = f" of {endpoint.hostname}" if endpoint.hostname not in ("", endpoint.id) else ""
    labels = ",".join(f"{k}={v}" for k, v in endpoint.labels.items())
    parts = (
        f"weight {endpoint.weight}",
        f"{endpoint.share:g} %",
        health,
        endpoint.locality,
        labels,
    )
    return f"{endpoint.id}{name}  " + "  ".join(part for part in parts if part)


def _wrapped(text: str, indent: str) -> list[_Line]:
    return [_Line(text, indent)]
