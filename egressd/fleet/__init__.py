"""Resources that all nodes share: how they lie in a key-value store, what a change of them writes, what
is refused before it is written, and what nodes say of them.

Imports `egressd.api` and `egressd.registry`. Everything decides purely but for `client`, which asks the
store, and `config`, which finds it.
"""
