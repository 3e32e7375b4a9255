"""What a client wrote, beside what is made of it: name and path are normalized before anything looks at
them."""

from __future__ import annotations

import msgspec

from egressd.explain.model import Step
from egressd.explain.question import Node
from egressd.proxy.http1.request import RequestHead


def with_spellings(
    step: Step, node: Node, head: RequestHead, spelling: bytes, authority: bytes, path: bytes
) -> Step:
    """The first step with a note for each part whose spelling is not the one that counts."""
    notes = list(step.notes)
    if spelling != authority:
        notes.append(f"host {_text(spelling)} is read as {_text(authority)}")
    sent = _sent_path(head.target)
    if path and sent != path:
        notes.append(
            f"path {_text(sent)} is read, and goes on, as {_text(path)} "
            f"(pathNormalization {node.paths.mode})"
        )
    if head.upgrade:
        offered = head.upgrade.lower()
        if offered not in node.upgrades:
            notes.append(f"Upgrade {_text(head.upgrade)}: only {_upgrades(node)} makes a tunnel")
    return msgspec.structs.replace(step, notes=tuple(notes))


def with_server_name(step: Step, spelling: str, name: str) -> Step:
    """The same for a server name, where it counts."""
    if not name or spelling == name:
        return step
    note = f"server name {spelling} is read as {name}"
    return msgspec.structs.replace(step, notes=(*step.notes, note))


def _sent_path(target: bytes) -> bytes:
    """The path within a target, as it was sent; of the absolute form what follows the authority."""
    path = target.partition(b"?")[0]
    if path[:1] == b"/" or b"://" not in path:
        return path
    slash = path.find(b"/", path.index(b"://") + 3)
    return path[slash:] if slash >= 0 else b"/"


def _upgrades(node: Node) -> str:
    return ", ".join(sorted(map(_text, node.upgrades))) or "nothing"


def _text(value: bytes) -> str:
    return value.decode("latin-1")
