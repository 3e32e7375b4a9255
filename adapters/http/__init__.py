"""HTTP/1.1 for adapters whose source speaks JSON over it: requests, and answers that never end.

Knows nothing of any source. Only `client` and `connection` touch sockets; both run on trio, without
a thread but for the look-up of names.
"""

from adapters.http.answer import Answer, HttpError
from adapters.http.client import HttpClient, OpenAnswer
from adapters.http.endpoint import Endpoint
from adapters.http.files import Credential, WatchedFiles
from adapters.http.tls import Tls

__all__ = [
    "Answer",
    "Credential",
    "Endpoint",
    "HttpClient",
    "HttpError",
    "OpenAnswer",
    "Tls",
    "WatchedFiles",
]
