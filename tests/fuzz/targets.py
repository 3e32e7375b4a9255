"""The targets by name, and their corpus."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz import http1, others
from tests.fuzz.engine import Target

CORPUS = Path(__file__).parent / "corpus"
TARGETS: dict[str, Target] = {
    "request_head": http1.REQUEST_HEAD,
    "response_head": http1.RESPONSE_HEAD,
    "chunked_body": http1.CHUNKED_BODY,
    "client_hello": others.CLIENT_HELLO,
    "proxy_header": others.PROXY_HEADER,
    "dns_message": others.DNS_MESSAGE,
}


def corpus_of(name: str) -> dict[str, bytes]:
    """File names to inputs."""
    found = sorted((CORPUS / name).glob("*")) if (CORPUS / name).is_dir() else []
    return {path.name: path.read_bytes() for path in found}
