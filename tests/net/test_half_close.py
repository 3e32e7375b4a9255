"""A half-closed stream goes on reading what the peer still sends, over TLS as well."""

from __future__ import annotations

import socket
import ssl

import pytest
import trustme

from egressd.net import Stream
from tests.net.driver import Loop, it

__all__ = ["it"]

_CA = trustme.CA()
_CERTIFICATE = _CA.issue_cert("origin.example")


def tls_pair(version: ssl.TLSVersion) -> tuple[ssl.SSLSocket, ssl.SSLSocket]:
    """Two ends with their handshake done, both non-blocking."""
    ours, theirs = socket.socketpair()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    _CERTIFICATE.configure_cert(server)
    _CA.configure_trust(client)
    client.maximum_version = version
    made = []
    for sock, context, more in (
        (ours, client, {"server_hostname": "origin.example"}),
        (theirs, server, {"server_side": True}),
    ):
        sock.setblocking(False)
        made.append(
            context.wrap_socket(
                sock, do_handshake_on_connect=False, suppress_ragged_eofs=False, **more
            )
        )
    done: set[ssl.SSLSocket] = set()
    while len(done) < 2:
        for one in made:
            try:
                one.do_handshake()
                done.add(one)
            except ssl.SSLWantReadError:
                pass
    return made[0], made[1]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_what_comes_after_our_end_is_still_decrypted(it: Loop, version: ssl.TLSVersion) -> None:
    ours, theirs = tls_pair(version)
    stream = Stream(it.loop, ours)
    stream.shutdown_write()
    assert theirs.recv(1) == b""
    theirs.send(b"still here")
    it.run()
    assert stream.recv_now() == b"still here"
    assert stream.recv_now() is None
    theirs.close()
    it.run()
    assert stream.recv_now() == b""
    stream.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_nothing_is_read_behind_the_ends_of_both(it: Loop, version: ssl.TLSVersion) -> None:
    ours, theirs = tls_pair(version)
    stream = Stream(it.loop, ours)
    with pytest.raises(ssl.SSLWantReadError):
        theirs.unwrap()
    socket.socket.send(theirs, b"no TLS at all")
    it.run()
    assert stream.recv_now() == b""
    stream.shutdown_write()
    assert stream.recv_now() == b""
    stream.close()
    theirs.close()
