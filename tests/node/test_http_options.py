"""The bootstrap's choices about names and paths, as the proxy takes them."""

from __future__ import annotations

from egressd.node.bootstrap_model import Bootstrap, HttpConfig
from egressd.node.http_options import allowed_methods, path_normalizer, upgrade_types
from egressd.node.profile import node_profile
from egressd.routing.path import EscapedSlashes, PathNormalization


def test_defaults() -> None:
    config = Bootstrap()
    assert path_normalizer(config)(b"/x/../%61%2f") == b"/a%2f"
    assert b"PROPFIND" in allowed_methods(config)
    assert b"FOO" not in allowed_methods(config)
    assert upgrade_types(config) == {b"websocket"}
    assert node_profile(config).normalizes_paths


def test_what_is_configured() -> None:
    config = Bootstrap(
        path_normalization=PathNormalization.MERGE_SLASHES,
        http=HttpConfig(
            escaped_slashes=EscapedSlashes.DECODE,
            extension_methods=("FOO",),
            upgrade_types=("MyProto/1", "websocket"),
        ),
    )
    assert path_normalizer(config)(b"/a%2f%2fb") == b"/a/b"
    assert b"FOO" in allowed_methods(config)
    assert upgrade_types(config) == {b"myproto/1", b"websocket"}


def test_paths_of_resources_stay_as_they_are_where_those_of_requests_do() -> None:
    config = Bootstrap(path_normalization=PathNormalization.NONE)
    assert path_normalizer(config)(b"/x/../%61") == b"/x/../%61"
    assert not node_profile(config).normalizes_paths
