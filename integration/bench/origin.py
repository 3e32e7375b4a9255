"""The origin: nginx on loopback, plain and TLS, answers by path, echoes what it was asked."""

from __future__ import annotations

import os
from pathlib import Path

BODY_SIZES = (100, 300, 700, 1200, 2500, 4000)
"""Bytes of the small answers; path /N/... answers with BODY_SIZES[N]."""

LARGE = 1 << 20


def write_origin(root: Path, plain: int, tls: int, certificate: Path, key: Path) -> Path:
    """The configuration file of an origin under `root`."""
    (root / "html").mkdir()
    (root / "html" / "large").write_bytes(b"x" * LARGE)
    locations = "".join(
        f'location /{n}/ {{ return 200 "{"x" * size}"; }}\n' for n, size in enumerate(BODY_SIZES)
    )
    common = f"""
      keepalive_requests 10000000; add_header x-echo "$host $request_uri";
      {locations}
      location /post {{ return 200 "posted"; }}
      location /large {{ root {root}/html; }}
    """
    temporary = "".join(
        f"{name}_temp_path {root}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = run_as()
    path = root / "origin.conf"
    path.write_text(
        f"""
{user}worker_processes 1; daemon off; error_log {root}/origin.log; pid {root}/origin.pid;
events {{ worker_connections 8192; }}
http {{ access_log off; {temporary} client_max_body_size 100m; sendfile on;
  server {{ listen 127.0.0.1:{plain} backlog=4096; {common} }}
  server {{ listen 127.0.0.1:{tls} ssl backlog=4096;
    ssl_certificate {certificate}; ssl_certificate_key {key}; {common} }}
}}
"""
    )
    return path


def run_as() -> str:
    """As root nginx would drop to a user that may not read our private directory."""
    return "user root; " if os.geteuid() == 0 else ""
