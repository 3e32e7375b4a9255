"""The demo's configuration, as an operator would write it."""

from __future__ import annotations

import json
from pathlib import Path

_RESOURCES = """\
# A name with two versions, a header match and a 90/10 canary.
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: shop}}
spec:
  hosts: [shop.demo]
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  resolution: STATIC
  endpoints:
  - {{address: 127.0.0.1, ports: {{http: {v1}}}, labels: {{version: v1}}}}
  - {{address: 127.0.0.1, ports: {{http: {v2}}}, labels: {{version: v2}}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: shop}}
spec:
  host: shop.demo
  subsets:
  - {{name: v1, labels: {{version: v1}}}}
  - {{name: v2, labels: {{version: v2}}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: shop}}
spec:
  hosts: [shop.demo]
  http:
  - name: testers
    match: [{{headers: {{x-tester: {{exact: "yes"}}}}}}]
    route: [{{destination: {{host: shop.demo, subset: v2}}}}]
  - name: canary
    route:
    - {{destination: {{host: shop.demo, subset: v1}}, weight: 90}}
    - {{destination: {{host: shop.demo, subset: v2}}, weight: 10}}
---
# A partner that speaks TLS only, with a private CA: the application calls it in plain HTTP.
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: secure}}
spec:
  hosts: [secure.demo]
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  resolution: STATIC
  endpoints: [{{address: 127.0.0.1, ports: {{http: {tls}}}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: secure}}
spec:
  host: secure.demo
  trafficPolicy:
    tls: {{mode: SIMPLE, caCertificates: {ca}}}
---
# Two endpoints, one of which fails half of the time: it is ejected for a while, again and again.
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: flaky}}
spec:
  hosts: [flaky.demo]
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  resolution: STATIC
  endpoints:
  - {{address: 127.0.0.1, ports: {{http: {v1}}}}}
  - {{address: 127.0.0.1, ports: {{http: {flaky}}}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: flaky}}
spec:
  host: flaky.demo
  trafficPolicy:
    outlierDetection: {{consecutive5xxErrors: 3, interval: 1s, baseEjectionTime: 2s}}
"""


def write_node(directory: Path, ports: dict[str, int]) -> Path:
    """Resources and bootstrap of the demo's node; returns the bootstrap's path."""
    resources = directory / "resources"
    resources.mkdir()
    text = _RESOURCES.format(ca=directory / "ca.pem", **ports)
    (resources / "demo.yaml").write_text(text)
    bootstrap = {
        "node": {"id": "demo"},
        "workers": 2,
        "listeners": [{"name": "egress", "address": "127.0.0.1", "port": 0}],
        "resources": [str(resources)],
        "accessLog": {"path": str(directory / "access.log")},
        "stateDir": str(directory / "state"),
        "runDir": str(directory / "run"),
    }
    path = directory / "egressd.yaml"
    path.write_text(json.dumps(bootstrap, indent=2) + "\n")
    return path
