"""Health checks that egressd runs itself, as etcd runs none."""

from __future__ import annotations

from base64 import b64encode
from urllib.parse import unquote, urlsplit

import trio

from adapters.http import Endpoint, HttpClient, HttpError
from egressd.api.secret import Secret
from egressd.registry.registrar import HealthCheck


async def passes(check: HealthCheck) -> bool:
    """One run of a check: an HTTP answer of 2xx, or a TCP connection, within its time-out. A check by
    time only (`ttl_s`) passes while egressd runs."""
    if check.http:
        return await _answers(check.http.reveal(), check.timeout_s)
    if check.tcp:
        host, _, port = check.tcp.rpartition(":")
        try:
            with trio.fail_after(check.timeout_s):
                stream = await trio.open_tcp_stream(host.strip("[]"), int(port))
        except (OSError, trio.TooSlowError):
            return False
        await trio.aclose_forcefully(stream)
    return True


async def _answers(url: str, timeout_s: float) -> bool:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "https":
        client = HttpClient(Endpoint(scheme="https", host=host, port=parts.port or 443))
    else:
        client = HttpClient(Endpoint(scheme="http", host=host, port=parts.port or 80))
    headers: dict[str, str | Secret] = {}
    if parts.username is not None:  # as Consul's own check of such a URL
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = Secret(f"Basic {b64encode(pair.encode()).decode()}")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        answer = await client.request("GET", target, headers, timeout_s=timeout_s)
    except HttpError:
        return False
    finally:
        client.close()
    return 200 <= answer.status < 300
