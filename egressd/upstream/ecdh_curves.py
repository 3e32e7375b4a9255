"""The curves of a TLS context (Istio `ServerTLSSettings.ecdhCurves`, Envoy `TlsParameters.ecdh_curves`).

Python's `ssl` sets one curve, and none that is no EC key (X25519). A list is set by OpenSSL itself,
`SSL_CTX_set1_groups_list`, on the context that the Python object holds.
"""

from __future__ import annotations

import _ssl
import ctypes
import ssl
import sys
from collections.abc import Callable, Sequence

_SET_GROUPS_LIST = 92  # SSL_CTRL_SET_GROUPS_LIST, OpenSSL 1.1.1 and 3
_POINTER_AT = 2 * ctypes.sizeof(ctypes.c_void_p)  # of PySSLContext.ctx, behind the object's head
_KNOWN_LAYOUTS = ((3, 11), (3, 12), (3, 13))
_NATIVE = {"P-256": "prime256v1", "P-384": "secp384r1", "P-521": "secp521r1"}


class UnknownCurves(Exception):
    """Curves that this OpenSSL, or this Python, cannot use."""


def set_curves(context: ssl.SSLContext, names: Sequence[str]) -> None:
    """Key exchange by these curves only, the first one first. Raises `UnknownCurves`."""
    control = _control()
    if control is None:
        _set_one(context, names)
        return
    probe = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    unknown = [name for name in names if not control(probe, name)]
    if unknown:
        raise UnknownCurves(f"OpenSSL does not know {', '.join(unknown)}")
    if not control(context, ":".join(dict.fromkeys(names))):
        raise UnknownCurves(f"OpenSSL refuses {', '.join(names)}")


def _control() -> Callable[[ssl.SSLContext, str], bool] | None:
    """Sets the groups of a context; None where the interpreter's layout is not a known one."""
    is_known = sys.implementation.name == "cpython" and sys.version_info[:2] in _KNOWN_LAYOUTS
    if not is_known or hasattr(sys, "gettotalrefcount"):
        return None
    try:
        control = ctypes.CDLL(_ssl.__file__).SSL_CTX_ctrl
    except (AttributeError, OSError):
        return None
    control.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_char_p)
    control.restype = ctypes.c_long

    def set_groups(context: ssl.SSLContext, names: str) -> bool:
        pointer = ctypes.c_void_p.from_address(id(context) + _POINTER_AT)
        return bool(control(pointer, _SET_GROUPS_LIST, 0, names.encode()) == 1)

    return set_groups


def _set_one(context: ssl.SSLContext, names: Sequence[str]) -> None:
    if len(names) != 1:
        raise UnknownCurves("this Python sets one curve, no list")
    try:
        context.set_ecdh_curve(_NATIVE.get(names[0], names[0]))
    except ValueError:
        raise UnknownCurves(f"this Python does not know {names[0]}") from None
