"""Step 1, the listener: which one the client reaches, what it does, which names are seen from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from egressd.api.gateway import Gateway
from egressd.api.names import qualified_gateway
from egressd.api.resource import Kind
from egressd.explain.model import By, Considered, Step
from egressd.explain.question import BadQuestion, Node, NodeListener, Question
from egressd.explain.sources import by_place, find_record
from egressd.proxy.l4_target import wants_server_name
from egressd.proxy.scope import Scope
from egressd.registry.claims import kind_key
from egressd.registry.exposure import exposes
from egressd.registry.sidecar import MeshScope, mesh_scope
from egressd.routing.authority import InvalidName, parse_server_name
from egressd.routing.gateway import (
    GatewayListener,
    GatewayServer,
    Handling,
    Speech,
    choose_server,
    compile_listeners,
    exposures_of,
)
from egressd.routing.sidecar import SidecarListener, compile_sidecar_listeners
from egressd.telemetry.flags import ResponseFlag

_HTTPS_PORT = 443


@dataclass(frozen=True, slots=True)
class Arrival:
    """How it comes in. `mesh` is what the Sidecar leaves, None on a Gateway, where `local` is the
    address that it came to; `port` and `address` are what a plain connection was meant for."""

    step: Step
    scope: Scope
    handling: Handling
    mesh: MeshScope | None = None
    port: int = 0
    address: str = ""
    sni: str = ""
    source: str = ""
    local: str = ""

    @property
    def is_http(self) -> bool:
        return self.handling in (Handling.HTTP, Handling.HTTPS)


def arrive(node: Node, question: Question) -> Arrival:
    """The listener that the client reaches. Raises `BadQuestion`, `Ended`."""
    question = _with_server_name(question)
    listeners, problems = compile_listeners(
        node.view, node.profile, bind=node.gateway_address, ports=dict(node.gateway_ports)
    )
    gateway = qualified_gateway(question.gateway, node.profile.namespace)
    if question.gateway and gateway != "mesh":
        own = [one for one in listeners if gateway in _gateways(one)]
        if not own:
            said = [str(p) for p in problems if p.resource == f"Gateway/{gateway}"]
            raise _refused(_why_no_listener(node, gateway, said))
        return _at_gateway(node, question, _the_listener(own, question, gateway), gateway)
    if question.listener is not None and not question.gateway:
        found = [one for one in listeners if question.listener in (one.port, one.service_port)]
        if found:
            return _at_gateway(node, question, _the_listener(found, question, "any"), "")
        for one in compile_sidecar_listeners(node.view, node.profile):
            if one.port == question.listener:
                return _at_sidecar(node, question, one)
    return _in_mesh(node, question)


def _with_server_name(question: Question) -> Question:
    """The question with its server name in the form that the node reads it in."""
    if not question.sni:
        return question
    try:
        return replace(question, sni=parse_server_name(question.sni.encode()))
    except InvalidName as error:
        step = Step("listener", "the ClientHello is refused")
        raise Ended(step, str(error), ResponseFlag.DPE, "tls_inspector") from None


# -- the node's own listeners --------------------------------------------------------------------


def _in_mesh(node: Node, question: Question) -> Arrival:
    mesh = mesh_scope(node.view, node.profile)
    scope = Scope(node.view, node.profile)
    scope.restrict(mesh)
    listener, notes = _own_listener(node, question)
    says, source = "no listener of the node", question.source
    if listener is not None:
        says = (
            f"{listener.address}:{listener.port} {listener.name!r} of the node, {listener.speech}"
        )
        source = source or _loopback(listener.address)
    if not question.source and source:
        notes = (*notes, f"the client is taken for {source}; --source-ip says another")
    step = Step("listener", says, By("bootstrap", "listeners"), notes=notes)
    speech = listener.speech if listener is not None else _speech(question)
    return _plain(Arrival(step, scope, Handling.HTTP, mesh, source=source), question, speech)


def _own_listener(node: Node, question: Question) -> tuple[NodeListener | None, tuple[str, ...]]:
    if question.listener is not None:
        found = [one for one in node.listeners if one.port == question.listener]
        if not found:
            ports = ", ".join(str(one.port) for one in node.listeners)
            raise BadQuestion(
                f"--port {question.listener}: no Gateway, Sidecar or listener of the node has this "
                f"port; the node's own are {ports}"
            )
        return found[0], ()
    speech = _speech(question)
    fitting = [speech, Speech.TCP] if speech is Speech.TLS else [speech]
    for wanted in fitting:
        for one in node.listeners:
            if one.speech is wanted:
                return one, ()
    return None, (
        f"the bootstrap file has no listener of protocol {speech}: nothing comes in this way; shown is "
        "what one would do",
    )


def _at_sidecar(node: Node, question: Question, listener: SidecarListener) -> Arrival:
    scope = Scope(node.view, node.profile, port=listener.port)
    scope.restrict(listener.mesh)
    place = f"{listener.address}:{listener.port}"
    step = Step(
        "listener",
        f"{place} of the node's Sidecar, {listener.speech}",
        by_place(node.view, listener.owner, ""),
    )
    source = question.source or _loopback(listener.address)
    arrival = Arrival(step, scope, Handling.HTTP, listener.mesh, source=source)
    if question.port is None:
        question = replace(question, port=listener.port)
    return _plain(arrival, question, listener.speech)


def _plain(arrival: Arrival, question: Question, speech: Speech) -> Arrival:
    """A connection of the node's own clients, by what the listener speaks."""
    if speech is Speech.HTTP:
        if not question.head:
            raise BadQuestion("the listener speaks HTTP: give METHOD and URL")
        if question.is_https:
            raise BadQuestion(
                "the node's own HTTP listeners speak plain HTTP: give http://, or CONNECT HOST:PORT; "
                "with --sni a TLS listener is explained, with --gateway one that ends TLS"
            )
        return arrival
    if question.head:
        raise BadQuestion(f"the listener speaks {speech}: leave METHOD and URL out")
    notes = list(arrival.step.notes)
    port = question.port
    if port is None:
        port = _HTTPS_PORT
        notes.append("the connection is taken for one to port 443; --tcp ADDRESS:PORT says another")
    sni = question.sni
    if speech is Speech.TCP:
        wants = wants_server_name(arrival.scope, question.address, port)
        if wants and not sni:
            notes.append("the node would wait for a ClientHello and its server name: --sni says it")
        elif sni and not wants:
            notes.append("the server name is not looked at: no TLS service is found by this port")
            sni = ""
    return replace(
        arrival,
        handling=Handling.PASSTHROUGH if speech is Speech.TLS else Handling.TCP,
        step=_noted(arrival.step, notes),
        port=port,
        address=question.address,
        sni=sni,
    )


def _noted(step: Step, notes: list[str]) -> Step:
    return Step(step.name, step.says, step.by, step.considered, tuple(notes))


def _speech(question: Question) -> Speech:
    if question.head:
        return Speech.HTTP
    return Speech.TLS if question.sni else Speech.TCP


def _loopback(address: str) -> str:
    """Where clients of a loopback listener come from."""
    return address if address in ("127.0.0.1", "::1") else ""


# -- Gateways ------------------------------------------------------------------------------------


def _gateways(listener: GatewayListener) -> set[str]:
    return {server.exposure.gateway for server in listener.servers}


def _the_listener(
    found: list[GatewayListener], question: Question, gateway: str
) -> GatewayListener:
    """The one port that is meant: by number, else by what is spoken there."""
    wanted = question.listener
    if wanted is not None:
        at_port = [one for one in found if wanted in (one.port, one.service_port)]
    else:
        speech = Speech.TLS if question.is_https else _speech(question)
        at_port = [one for one in found if one.speech is speech]
    if len(at_port) == 1:
        return at_port[0]
    ports = ", ".join(f"{one.service_port or one.port} ({one.speech})" for one in found)
    raise BadQuestion(f"--port: which one of Gateway {gateway}? It has {ports}")


def _at_gateway(node: Node, question: Question, listener: GatewayListener, gateway: str) -> Arrival:
    port = listener.service_port
    server: GatewayServer | None = None
    servers = listener.servers
    if listener.speech is Speech.TLS:
        if question.head and not question.is_https:
            raise BadQuestion(f"port {port} speaks TLS: give https://, or --sni and no URL")
        server = choose_server(servers, question.sni)
        servers = (server,) if server is not None else ()
    elif question.is_https:
        raise BadQuestion(f"port {port} speaks {listener.speech}, not TLS: give http://")
    step = _gateway_step(node, question, listener, server)
    if not servers:
        name = question.sni or "no server name"
        reason = f"no server of port {listener.port} has {name}"
        raise Ended(step, reason, ResponseFlag.NR, "filter_chain_not_found")
    exposures, redirecting = exposures_of(servers)
    scope = Scope(node.view, node.profile, exposures=exposures, redirecting=redirecting, port=port)
    handling = server.handling if server is not None else _handling(listener)
    arrival = Arrival(
        step, scope, handling, None, port,
        sni=question.sni, source=question.source, local=_bound(listener.address),
    )  # fmt: skip
    if arrival.is_http and not question.head:
        raise BadQuestion(f"port {port} of the Gateway speaks HTTP: give METHOD and URL")
    if not arrival.is_http and question.head:
        raise BadQuestion(f"port {port} carries no HTTP ({handling}): leave METHOD and URL out")
    return arrival


class Ended(Exception):
    """The connection ends with this step."""

    def __init__(self, step: Step, reason: str, flag: str = "", details: str = "") -> None:
        super().__init__(reason)
        self.step = step
        self.flag = flag
        self.details = details


def _handling(listener: GatewayListener) -> Handling:
    return Handling.HTTP if listener.speech is Speech.HTTP else Handling.TCP


def _bound(address: str) -> str:
    """The address that connections come to; "" where the listener has every one."""
    return "" if address in ("0.0.0.0", "::") else address


def _gateway_step(
    node: Node, question: Question, listener: GatewayListener, chosen: GatewayServer | None
) -> Step:
    port = f" for port {listener.service_port}" if listener.port != listener.service_port else ""
    says = f"{listener.address}:{listener.port}{port}, {listener.speech}, Gateway"
    taken = chosen or listener.servers[0]
    if chosen is not None:
        says += f"; by server name {question.sni!r}: {chosen.handling}"
    return Step(
        "listener",
        says,
        by_place(node.view, taken.place, ""),
        tuple(_servers(node, question, listener, chosen)),
        tuple(_tls_notes(question, chosen)),
    )


def _servers(
    node: Node, question: Question, listener: GatewayListener, chosen: GatewayServer | None
) -> Iterator[Considered]:
    for server in listener.servers:
        hosts = ", ".join(f"{owner}/{pattern}" for owner, pattern in server.exposure.hosts)
        what = f"{server.place} ({server.handling}, hosts {hosts})"
        by = by_place(node.view, server.place, "")
        if listener.speech is not Speech.TLS or server is chosen:
            yield Considered(what, True, (), by)
        elif chosen is not None and exposes(server.exposure, question.sni):
            yield Considered(what, False, (_why_other(server, chosen, question.sni),), by)
        else:
            name = question.sni or "a client without server name"
            yield Considered(what, False, (f"its hosts do not cover {name}",), by)


def _why_other(server: GatewayServer, chosen: GatewayServer, sni: str) -> str:
    """Why another server has a server name that this one covers, too."""
    pattern = exposes(chosen.exposure, sni)
    if pattern != exposes(server.exposure, sni):
        return f"{chosen.place} has the narrower host"
    return f"{chosen.place} has {pattern} as well and comes first: the older Gateway, the earlier server"


def _tls_notes(question: Question, server: GatewayServer | None) -> Iterator[str]:
    if server is None or server.tls is None or server.handling not in (
        Handling.HTTPS, Handling.TLS_TCP
    ):  # fmt: skip
        return
    yield f"TLS ends here (mode {server.tls.mode})"
    if "MUTUAL" in server.tls.mode and not question.principal:
        yield "a client certificate that verifies is assumed; --principal says whose it is"


def _why_no_listener(node: Node, gateway: str, problems: list[str]) -> str:
    record = find_record(node.view, f"Gateway/{gateway}", [kind_key(Kind.GATEWAY)])
    if record is None:
        known = [r.resource for r in node.view.records(Kind.GATEWAY)]
        names = ", ".join(f"{r.metadata.namespace}/{r.metadata.name}" for r in known)
        raise BadQuestion(f"--gateway {gateway}: no such Gateway; there are {names or 'none'}")
    if problems:
        return "; ".join(problems)
    spec = record.resource.spec
    assert isinstance(spec, Gateway)
    wanted = ",".join(f"{k}={v}" for k, v in spec.selector.items())
    own = ",".join(f"{k}={v}" for k, v in node.profile.labels.items()) or "none"
    return f"Gateway/{gateway} is not this node's: its selector is {wanted}, the node's labels are {own}"


def _refused(reason: str) -> Ended:
    return Ended(Step("listener", f"nothing listens: {reason}"), "connection refused")
