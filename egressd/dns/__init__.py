"""The resolver of the node: questions to name servers, answers held by TTL, kept through failures.

`answer`, `held`, `servers` and `hosts` are pure; `exchange` alone touches sockets, `resolver` and
`watch` are the trio shell. Imports nothing of egressd: workers and adapters both build on it.
"""

from egressd.dns.answer import Answer
from egressd.dns.held import Bounds, Held
from egressd.dns.resolver import Resolver
from egressd.dns.servers import split_server
from egressd.dns.watch import Question, Watch

__all__ = ["Answer", "Bounds", "Held", "Question", "Resolver", "Watch", "split_server"]
