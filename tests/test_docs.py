"""The documentation's examples are what egressd reads, and its list of bootstrap fields is complete."""

from __future__ import annotations

import re
import typing
from pathlib import Path

import msgspec
import pytest
import trio

from egressd.node.bootstrap import load_bootstrap, parse_bootstrap
from egressd.node.bootstrap_model import Bootstrap
from egressd.node.sources import UnknownAdapter, make_adapter
from egressd.registry.adapter import AdapterConfigError

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = [
    pytest.param(block, id=f"{document.name}-{number}")
    for document in DOCUMENTS
    for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", document.read_text(), re.S))
    if re.search(r"^(adapters|registry|node|dns|resources|listeners|gateways|tls):", block, re.M)
]


@pytest.mark.parametrize("text", EXAMPLES)
def test_every_bootstrap_example_is_taken_with_the_options_of_its_adapters(text: str) -> None:
    bootstrap = parse_bootstrap(text)

    async def make_all() -> None:
        for adapter in bootstrap.adapters:
            try:
                make_adapter(adapter, bootstrap)
            except UnknownAdapter:
                assert adapter.type == "roster"  # the example of a third party
            except AdapterConfigError as error:
                assert "No such file" in str(error)

    trio.run(make_all)


def fields(kind: type, prefix: str = "") -> list[str]:
    """Every field's path; what stands in one row for all of it counts as one."""
    found: list[str] = []
    hints = typing.get_type_hints(kind)
    for field in msgspec.structs.fields(kind):
        name, hint = f"{prefix}{field.encode_name}", hints[field.name]
        inner = [one for one in (hint, *typing.get_args(hint)) if isinstance(one, type)]
        parts = [one for one in inner if issubclass(one, msgspec.Struct)]
        if parts and name not in ("adapters", "adapters[].massLoss"):
            is_list = typing.get_origin(hint) is tuple
            found += fields(parts[0], f"{name}[]." if is_list else f"{name}.")
        else:
            found.append(name)
    return found


def test_the_bootstrap_reference_has_every_field_and_no_other() -> None:
    text = (ROOT / "docs" / "bootstrap.md").read_text()
    rows = set(re.findall(r"^\| `([a-zA-Z.\[\]]+)` \|", text, re.M))
    assert rows - {"adapters[].endpoints", "adapters[].massLoss"} == set(fields(Bootstrap))


def test_the_installed_bootstrap_file_is_the_defaults() -> None:
    assert load_bootstrap(ROOT / "systemd" / "egressd.yaml") == Bootstrap()
