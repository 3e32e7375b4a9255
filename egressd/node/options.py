"""Free-form settings: a node tree as plain JSON values, for whoever knows what they mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from egressd.api import nodes
from egressd.api.decode import describe, entries, join
from egressd.api.report import Report


class AdapterOptions(Mapping[str, object]):
    """Options as they were written. Any of them may be a secret, which only their adapter knows:
    neither `repr` nor JSON shows them (`egressd.node.shown` does, by their types)."""

    __slots__ = ("_plain",)

    def __init__(self, plain: Mapping[str, object] = MappingProxyType({})) -> None:
        self._plain = plain

    def __getitem__(self, name: str) -> object:
        return self._plain[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._plain)

    def __len__(self) -> int:
        return len(self._plain)

    def __repr__(self) -> str:
        return f"AdapterOptions({len(self._plain)})"


def decode_options(node: nodes.Node, path: str, report: Report) -> AdapterOptions:
    """The mapping that `node` holds; anything else is reported."""
    report.lines[path] = node.line
    if not isinstance(node, nodes.Mapping):
        report.undecodable(path, node.line, describe(node), "a mapping")
        return AdapterOptions()
    return AdapterOptions(_plain_mapping(node, path, report))


def _plain_mapping(node: nodes.Mapping, path: str, report: Report) -> dict[str, object]:
    plain: dict[str, object] = {}
    for name, value, line in entries(node, path, report):
        where = join(path, name)
        report.lines[where] = line
        plain[name] = _plain(value, where, report)
    return plain


def _plain(node: nodes.Node, path: str, report: Report) -> object:
    if isinstance(node, nodes.Scalar):
        return node.value()
    if isinstance(node, nodes.Mapping):
        return _plain_mapping(node, path, report)
    return [_plain(item, f"{path}[{index}]", report) for index, item in enumerate(node.items)]
