"""What a route does besides forwarding, on a real node: mirrors, CORS, gRPC faults, delegates."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.node import Node, eventually
from integration.origins import Origin, service_entry
from integration.raw_client import Client, serve, virtual


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    directory: Path = tmp_path_factory.mktemp("filters")
    with Node(directory, limits={"retryBufferBytes": 1000}) as node:
        yield node


def mirrored(node: Node) -> str:
    return node.admin("/metrics")[1].decode()


def test_a_mirror_gets_a_copy_with_a_shadow_host_and_never_fails_the_request(node: Node) -> None:
    with Origin("main") as main, Origin("shadow") as shadow:
        node.write("shadow.yaml", service_entry("shadow", shadow.port))
        host = serve(
            node,
            main.port,
            extra=virtual(
                "[{match: [{uri: {prefix: /a}}], rewrite: {uri: /b}, "
                "route: [{destination: {host: NAME.example}}], "
                "mirrors: [{destination: {host: shadow.example}}, "
                "{destination: {host: nowhere.example}}]}]"
            ),
        )
        name = host.decode().split()[1]
        eventually(lambda: node.get("shadow.example")[0] == 200)
        shadow.seen.clear()
        status, _, body = node.get(name, "/a/x?q=1", x_kept="yes")
        assert (status, body) == (200, b"main")
        command, path, headers = eventually(lambda: shadow.seen)[0]
        assert (command, path, headers["host"]) == ("GET", "/b/x?q=1", f"{name}-shadow")
        assert headers["x-kept"] == "yes"
        assert 'egressd_mirrored_requests_total{result="sent"}' in mirrored(node)
        assert 'egressd_mirrored_requests_total{result="failed"}' in mirrored(node)


def test_a_kept_body_is_mirrored_and_one_past_the_bound_is_not(node: Node) -> None:
    with Origin("main") as main, Origin("shadow2") as shadow:
        node.write("shadow2.yaml", service_entry("shadow2", shadow.port))
        eventually(lambda: node.get("shadow2.example")[0] == 200)
        shadow.seen.clear()
        host = serve(
            node,
            main.port,
            extra=virtual(
                "[{route: [{destination: {host: NAME.example}}], "
                "mirror: {host: shadow2.example}, mirrorPercentage: {value: 100}}]"
            ),
        )
        for size in (500, 300_000):
            with Client(node) as client:
                client.send(b"POST / HTTP/1.1\r\n" + host)
                client.send(b"Content-Length: %d\r\n\r\n" % size)
                client.send(b"x" * 100)
                client.send(b"x" * (size - 100))
                assert b" 200 " in client.until(b"main")
        eventually(lambda: shadow.seen)
        assert [seen[2]["content-length"] for seen in shadow.seen] == ["500"]
        assert 'result="not_kept"' in mirrored(node)


CORS = virtual(
    "[{route: [{destination: {host: NAME.example}}], corsPolicy: {allowOrigins: "
    "[{exact: 'https://a.example'}, {regex: 'https://[a-z]+[.]b[.]example'}], "
    "allowMethods: [GET, PUT], allowHeaders: [x-one], exposeHeaders: [x-two], maxAge: 1h, "
    "allowCredentials: true}}]"
)


def test_a_preflight_of_an_allowed_origin_is_answered_here(node: Node) -> None:
    with Origin("o") as origin:
        host = serve(node, origin.port, extra=CORS).decode().split()[1]
        status, headers, _ = node.get(
            host, method="OPTIONS", origin="https://x.b.example",
            access_control_request_method="PUT",
        )  # fmt: skip
        assert status == 200 and origin.seen == []
        assert headers["access-control-allow-origin"] == "https://x.b.example"
        assert headers["access-control-allow-methods"] == "GET,PUT"
        assert headers["access-control-allow-headers"] == "x-one"
        assert headers["access-control-max-age"] == "3600"
        assert headers["access-control-allow-credentials"] == "true"
        assert headers["access-control-expose-headers"] == "x-two"


def test_the_answer_to_an_allowed_origin_says_so_and_to_others_nothing(node: Node) -> None:
    with Origin("o") as origin:
        host = serve(node, origin.port, extra=CORS).decode().split()[1]
        _, headers, _ = node.get(host, origin="https://a.example")
        assert headers["access-control-allow-origin"] == "https://a.example"
        assert headers["access-control-expose-headers"] == "x-two"
        for sent in ({"origin": "https://c.example"}, {}):
            _, headers, _ = node.get(host, **sent)
            assert not [name for name in headers if name.startswith("access-control")]


def test_an_unmatched_preflight_is_forwarded_or_ignored_as_the_policy_says(node: Node) -> None:
    with Origin("o") as origin:
        forward = serve(node, origin.port, extra=CORS).decode().split()[1]
        ignored = CORS.replace("maxAge: 1h", "unmatchedPreflights: IGNORE")
        ignore = serve(node, origin.port, extra=ignored).decode().split()[1]
        sent = {"origin": "https://c.example", "access_control_request_method": "PUT"}
        assert node.get(forward, method="OPTIONS", **sent)[0] == 501  # the origin's own word
        status, headers, _ = node.get(ignore, method="OPTIONS", **sent)
        assert status == 200 and "access-control-allow-origin" not in headers


def test_a_grpc_abort_is_a_grpc_answer_to_grpc_clients_and_http_to_others(node: Node) -> None:
    with Origin("o") as origin:
        host = serve(
            node, origin.port,
            extra=virtual(
                "[{fault: {abort: {grpcStatus: RESOURCE_EXHAUSTED, percentage: {value: 100}}}, "
                "route: [{destination: {host: NAME.example}}]}]"
            ),
        ).decode().split()[1]  # fmt: skip
        status, headers, _ = node.get(host, content_type="application/grpc+proto")
        assert (status, headers["grpc-status"]) == (200, "8")
        assert headers["content-type"] == "application/grpc"
        status, headers, _ = node.get(host)
        assert status == 429 and "grpc-status" not in headers


def test_a_delegate_serves_within_its_roots_match(node: Node) -> None:
    with Origin("o") as origin:
        node.write(
            "leaf.yaml",
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
            "metadata: {name: leaf, namespace: team}\nspec:\n  http:\n"
            "  - {name: deep, match: [{uri: {prefix: /team/x}}], directResponse: {status: 201}}\n"
            "  - {match: [{uri: {prefix: /other}}], directResponse: {status: 202}}\n"
            "  - {directResponse: {status: 203}}\n",
        )
        host = serve(
            node, origin.port,
            extra=virtual(
                "[{match: [{uri: {prefix: /team}}], delegate: {name: leaf, namespace: team}}, "
                "{route: [{destination: {host: NAME.example}}]}]"
            ),
        ).decode().split()[1]  # fmt: skip
        eventually(lambda: node.get(host, "/team/x/1")[0] == 201)
        assert node.get(host, "/team/y")[0] == 203
        assert node.get(host, "/other")[2] == b"o"


def test_a_stat_prefix_names_the_route_in_metrics(node: Node) -> None:
    with Origin("o") as origin:
        host = serve(
            node, origin.port,
            extra=virtual(
                "[{match: [{uri: {prefix: /}, statPrefix: checkout}], "
                "route: [{destination: {host: NAME.example}}]}]"
            ),
        ).decode().split()[1]  # fmt: skip
        assert node.get(host)[0] == 200
        assert 'route="checkout"' in node.admin("/metrics")[1].decode()


@pytest.mark.parametrize(
    ("action", "status"),
    [
        ("directResponse: {status: 200, body: {string: '{}'}}", 200),
        ("redirect: {uri: /x}", 301),
        ("route: [{destination: {host: nowhere.example}}]", 503),
        (
            "route: [{destination: {host: NAME.example}}], "
            "fault: {abort: {httpStatus: 555, percentage: {value: 100}}}",
            555,
        ),
    ],
)
def test_answers_of_the_node_carry_the_routes_response_headers(
    node: Node, action: str, status: int
) -> None:
    ops = "headers: {response: {set: {content-type: application/json, x-a: b}}}"
    with Origin("unused") as origin:
        host = serve(node, origin.port, extra=virtual(f"[{{{action}, {ops}}}]"))
        found, headers, _ = node.get(host.decode().split()[1])
        assert found == status
        assert (headers["content-type"], headers["x-a"]) == ("application/json", "b")


def test_commands_in_header_values_are_replaced_as_envoy_does(node: Node) -> None:
    route = (
        "[{name: r, route: [{destination: {host: NAME.example}}], headers: {request: {set: {"
        "x-client: 'ip=%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%', x-path: '%REQ(:path)%', "
        "x-cut: '%REQ(x-none?x-given):3%', x-percent: '100%%', x-none: '%REQ(x-none)%', "
        "x-cluster: '%UPSTREAM_CLUSTER%', x-time: '%START_TIME(%s)%'}}, response: {set: {"
        "x-host: '%UPSTREAM_HOST%', x-was: '%RESP(x-origin)% %RESPONSE_CODE% %PROTOCOL%'}}}}]"
    )
    with Origin("values") as origin:
        host = serve(node, origin.port, extra=virtual(route))
        name = host.decode().split()[1]
        status, answer, _ = node.get(name, "/p?q", x_given="abcdef")
        assert status == 200
        sent = origin.seen[-1][2]
        assert (sent["x-client"], sent["x-path"]) == ("ip=127.0.0.1", "/p?q")
        assert (sent["x-cut"], sent["x-percent"]) == ("abc", "100%")
        assert "x-none" not in sent
        assert sent["x-cluster"] == f"outbound|80||{name}"
        assert sent["x-time"].isdigit() and len(sent["x-time"]) == 10
        assert answer["x-host"] == f"127.0.0.1:{origin.port}"
        assert answer["x-was"] == "values 200 HTTP/1.1"
