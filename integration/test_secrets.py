"""A marker as the secret of every source of a running node, then a search in all that it says.

The sources reach a server that refuses everybody and repeats the whole request in its refusal, ports on
which nobody listens, and options that are wrong. Marks of options are nowhere; a mark inside a resource
(a credential that a route sets) is in the store, which workers read, and not shown.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from integration.node import Node, eventually
from integration.servers.consul import free_ports

MARK = "S3CR3T-of-an-option"
INSIDE = "S3CR3T-of-a-resource"
FORMS = tuple(
    text.encode()
    for text in (MARK, base64.b64encode(f"u:{MARK}".encode()).decode(), MARK.replace("-", "%2D"))
)
RESOURCES = f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: web}}
spec:
  hosts: [web.example]
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  resolution: STATIC
  endpoints: [{{address: 127.0.0.1}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: web, annotations: {{seen: "http://u:{INSIDE}@h/?k={INSIDE}"}}}}
spec:
  hosts: [web.example]
  http:
    - match: [{{uri: {{prefix: /moved}}}}]
      redirect: {{uri: "/there?key={INSIDE}"}}
    - match: [{{headers: {{x-api-key: {{exact: "{INSIDE}"}}}}}}]
      route: [{{destination: {{host: web.example}}}}]
    - headers:
        request: {{set: {{Authorization: "Bearer {INSIDE}", x-plain: shown}}}}
      route:
        - destination: {{host: web.example}}
          headers: {{response: {{add: {{Set-Cookie: "{INSIDE}"}}}}}}
"""
SERVICES = f"""
services:
  - name: web
    port: 80
    check: {{http: "http://u:{MARK}@127.0.0.1:1/health?key={MARK}"}}
"""


class _Echo(socketserver.StreamRequestHandler):
    """Refuses, with the head of the request as its reason."""

    def handle(self) -> None:
        head = b""
        while line := self.rfile.readline():
            head += line
            if line == b"\r\n":
                break
        body = b"no rights: " + head
        answer = b"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
        self.wfile.write(answer % len(body) + body)


@contextmanager
def echo_server() -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def adapters(directory: Path, echo: int, dead: int) -> list[dict[str, object]]:
    """Sources that fail in every way, each with the mark as its secret."""
    kubeconfig = directory / "kubeconfig"
    kubeconfig.write_text(
        yaml.safe_dump(
            {
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{echo}"}}],
                "users": [{"name": "u", "user": {"token": MARK}}],
            }
        )
    )
    token = directory / "token"
    token.write_text(MARK)
    url = f"http://u:{MARK}@127.0.0.1"
    options: dict[str, tuple[str, dict[str, object]]] = {
        "consul-echo": ("consul", {"address": f"127.0.0.1:{echo}", "token": MARK}),
        "consul-dead": ("consul", {"address": f"127.0.0.1:{dead}", "tokenFile": str(token)}),
        "consul-env": ("consul", {"address": f"127.0.0.1:{echo}"}),
        "consul-url": ("consul", {"address": f"{url}:{echo}"}),
        "consul-bare": ("consul", {"address": f"u:{MARK}@127.0.0.1:{echo}"}),
        "consul-query": ("consul", {"address": f"http://127.0.0.1:{echo}/?token={MARK}"}),
        "consul-spaces": ("consul", {"address": f"127.0.0.1:{echo}", "token": f" {MARK} "}),
        "consul-typo": ("consul", {"tokenn": MARK}),
        "consul-list": ("consul", {"token": [MARK]}),
        "eureka-echo": ("eureka", {"servers": [f"{url}:{echo}/eureka"]}),
        "eureka-dead": ("eureka", {"servers": [f"{url}:{dead}/eureka"]}),
        "eureka-text": ("eureka", {"servers": f"{url}:{dead}/eureka"}),
        "eureka-query": ("eureka", {"servers": [f"{url}:{dead}/eureka?key={MARK}"]}),
        "eureka-user": (
            "eureka",
            {"servers": [f"http://127.0.0.1:{echo}"], "username": "u", "password": MARK},
        ),
        "etcd-dead": (
            "etcd",
            {"endpoints": [f"127.0.0.1:{dead}"], "user": "u", "password": MARK},
        ),
        "etcd-echo": (
            "etcd",
            {"endpoints": [f"127.0.0.1:{echo}"], "user": "u", "password": MARK},
        ),
        "etcd-url": ("etcd", {"endpoints": [f"{url}:{dead}"]}),
        "kube-echo": ("kubernetes", {"kubeconfig": str(kubeconfig)}),
        "dns-url": ("dns", {"names": [{"host": f"{url}/"}]}),
        "fleet-echo": (
            "fleet",
            {"store": "consul", "options": {"address": f"127.0.0.1:{echo}", "token": MARK}},
        ),
        "fleet-wrong": ("fleet", {"store": "consul", "options": {"address": f"{url}:{echo}"}}),
        "static-url": ("static", {"paths": [f"{url}/?key={MARK}"]}),
        "unknown": ("none-such", {"password": MARK, "url": url}),
    }
    return [
        {"type": kind, "name": name, "options": given} for name, (kind, given) in options.items()
    ]


REFUSED = {
    "consul-url", "consul-bare", "consul-query", "consul-typo", "consul-list", "eureka-text",
    "eureka-query", "etcd-url", "dns-url", "fleet-wrong", "unknown",
}  # fmt: skip
"""Those whose options are an error of the bootstrap file."""


COMMANDS = (
    ["status"],
    ["status", "-o", "json"],
    ["registry", "list"],
    ["registry", "list", "-o", "json"],
    ["registry", "get", "web.example"],
    ["registry", "get", "web.example", "-o", "json"],
    ["routes", "web.example", "-o", "json"],
    ["explain", "GET", f"http://u:{MARK}@web.example/moved?key={MARK}"],
    ["explain", "GET", "http://web.example/x", "-o", "json"],
    ["explain", "GET", "http://web.example/x", "-H", f"x-api-key: {MARK}"],
    ["explain", "GET", "http://web.example/x", "-H", MARK],
    ["analyze"],
    ["get", "--store", "fleet-echo"],
    ["get", "--store", "consul", "--store-option", MARK],
    ["get", "--store", "etcd", "--store-option", f"token={MARK}"],
    ["fleet", "status", "--store", "fleet-wrong"],
    ["register", "--once", "--to", "consul-echo", "-f", "SERVICES"],
    ["register", "--once", "--to", "consul-url", "-f", "SERVICES"],
    ["register", "--once", "--to", "etcd-dead", "-f", "SERVICES"],
    ["register", "--once", "--to", "consul", "--option", f"token: {MARK}", "-f", "SERVICES"],
)


def test_no_secret_is_shown_anywhere(tmp_path: Path) -> None:
    os.environ["CONSUL_HTTP_TOKEN"] = MARK
    try:
        with echo_server() as echo:
            sources = adapters(tmp_path, echo, free_ports(1)[0])
            good = [one for one in sources if one["name"] not in REFUSED]
            files = {"web.yaml": RESOURCES}
            with Node(tmp_path, files, adapters=good, waits_for_sources=False) as node:
                failing = [str(one["name"]) for one in good]
                eventually(lambda: _all_failed(node, failing), 30)
                _search(node, tmp_path, sources)
    finally:
        del os.environ["CONSUL_HTTP_TOKEN"]


def _all_failed(node: Node, names: list[str]) -> bool:
    """Whether each source said why: it failed, or has a problem."""
    found = json.loads(node.admin("/status")[1])["sources"]
    said = {one["name"] for one in found if one["error"] or one["problems"]}
    return said >= set(names)


def _search(node: Node, directory: Path, sources: list[dict[str, object]]) -> None:
    """`sources` are all, those of options that the bootstrap refuses included."""
    outputs: dict[str, bytes] = {}
    assert node.get("web.example", "/moved")[0] == 301
    assert node.get("web.example", "/x")[0] == 503  # a cluster in use
    for path in ("/config_dump", "/status", "/metrics", "/clusters", "/registry", "/nothing"):
        outputs[path] = node.admin(path)[1]
    config = json.loads(outputs["/config_dump"])["bootstrap"]["adapters"]
    assert config[0]["options"]["token"] == "[redacted]"
    assert config[0]["options"]["address"].startswith("127.0.0.1:")
    services = directory / "services.yaml"
    services.write_text(SERVICES)
    good = node.settings
    node.settings = {**good, "adapters": sources}
    node.save()  # commands go by names and options of adapters, right or wrong
    for command in COMMANDS:
        arguments = [str(services) if one == "SERVICES" else one for one in command]
        done = node.cli(*arguments)
        outputs[" ".join(command)] = (done.stdout + done.stderr).encode()
    assert b"x-plain: shown" in outputs["registry get web.example"]
    # A reload that is refused, then one that is taken: what the supervisor says of them.
    validated = node.cli("validate", "--bootstrap", str(node.config))
    outputs["validate adapters"] = (validated.stdout + validated.stderr).encode()
    for name in (str(index) for index, one in enumerate(sources) if one["name"] in REFUSED):
        assert f"adapters[{name}]" in validated.stdout
    _reload(node)
    eventually(lambda: _config_error(node))
    outputs["/status refused adapters"] = node.admin("/status")[1]
    url = f"http://u:{MARK}@h/?key={MARK}"
    node.settings = {**good, "admin": {"address": url}, "dns": {"nameservers": [url]}}
    node.save()
    validated = node.cli("validate", "--bootstrap", str(node.config))
    outputs["validate"] = (validated.stdout + validated.stderr).encode()
    _reload(node)
    eventually(lambda: "admin.address" in _config_error(node))
    outputs["/status refused"] = node.admin("/status")[1]
    refused = node.cli("status")
    outputs["status refused"] = (refused.stdout + refused.stderr).encode()
    node.settings = good
    node.save()
    _reload(node)
    eventually(lambda: not _config_error(node))
    outputs["log"] = node.log().encode()
    for file in _files(directory / "run", directory / "state", directory / "access.log"):
        outputs[str(file)] = file.read_bytes()
    for name, output in outputs.items():
        assert output or name.startswith(str(directory)), f"{name} says nothing"
        for form in FORMS:
            assert form not in output, f"{name}: {_around(output, form)}"
        if not name.startswith(str(directory)):
            assert INSIDE.encode() not in output, f"{name}: {_around(output, INSIDE.encode())}"


def _config_error(node: Node) -> str:
    return str(node.status()["configError"])


def _reload(node: Node) -> None:
    assert node.process is not None
    node.process.send_signal(signal.SIGHUP)


def _files(*places: Path) -> Iterator[Path]:
    for place in places:
        for file in place.rglob("*") if place.is_dir() else [place]:
            if file.is_file():
                yield file


def _around(output: bytes, form: bytes) -> str:
    at = output.index(form)
    return output[max(0, at - 200) : at + 100].decode(errors="replace")


def test_a_wrong_bootstrap_shows_no_secret(tmp_path: Path) -> None:
    url = f"http://u:{MARK}@h/?key={MARK}"
    config = tmp_path / "egressd.yaml"
    for wrong in (
        {"adapters": [{"type": url}]},
        {"adapters": [{"type": "consul", "optionz": {"token": MARK}}]},
        {"adapters": [{"type": "consul", "options": [MARK]}]},
        {"resources": [url]},
        {"listeners": [{"name": "a", "port": 1, "address": url}]},
        {"runDir": url},
        {"log": {"level": url}},
        {url: 1},
    ):
        config.write_text(json.dumps(wrong))
        for command in (
            ["run", "--bootstrap"],
            ["validate", "--bootstrap"],
            ["status", "--bootstrap"],
        ):
            done = subprocess.run(
                [sys.executable, "-m", "egressd.cli.main", *command, str(config)],
                capture_output=True,
                timeout=30,
                check=False,
            )
            assert done.returncode == 1
            assert done.stdout + done.stderr
            assert MARK.encode() not in done.stdout + done.stderr, (wrong, command)
