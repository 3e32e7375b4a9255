"""A tunnel by POST: what goes either way is a body (Istio `TunnelSettings`, Envoy `use_post`)."""

from __future__ import annotations

from egressd.net.stream import Stream
from egressd.proxy.http1.chunked import ChunkedDecoder, encode_chunk, encode_last
from egressd.proxy.http1.fields import MalformedMessage
from egressd.proxy.http1.response import parse_response

_MOST = 65536  # bytes of one chunk


def start_bodies(stream: Stream, head: bytes) -> None:
    """Go on in chunks behind a request `Transfer-Encoding: chunked` and the head of its answer.

    Raises `MalformedMessage`.
    """
    response = parse_response(head, b"POST")
    receive, send = stream.sock.recv, stream.sock.send
    decoder = ChunkedDecoder()
    frame = b""
    taken = 0

    def recv_body(size: int) -> bytes:
        while not decoder.done:
            data = receive(size)
            try:
                body = decoder.feed(data) if data else b""
            except MalformedMessage as error:
                raise ConnectionAbortedError(error.reason) from None
            if body or not data:
                return body
        return b""

    def send_body(data: bytes | memoryview) -> int:
        # Asked again with the same bytes until all of the chunk is written (BlockingIOError).
        nonlocal frame, taken
        if not frame:
            chunk = bytes(data[:_MOST])
            frame, taken = encode_chunk(chunk), len(chunk)
        while frame:
            frame = frame[send(frame) :]
        return taken

    stream.start_coding(recv_body if response.chunked else receive, send_body, encode_last())
