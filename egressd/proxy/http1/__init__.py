"""The HTTP/1.1 codec, sans I/O: heads, framing, chunked coding (RFC 9112), strict on both sides.

Bytes in, values out. A head is checked as a whole by one possessive regular expression and its raw
header block is kept, so that what nobody touches is forwarded as it came, without being taken apart.
"""
