"""Valid resources in the forms that Istio's documentation uses; none may be refused."""

from __future__ import annotations

from typing import Final


def _resource(kind: str, spec: str, version: str = "v1", metadata: str = "{name: example}") -> str:
    return f"apiVersion: networking.istio.io/{version}\nkind: {kind}\nmetadata: {metadata}\n{spec}"


_SERVICE_ENTRIES = {
    "external HTTPS by DNS": """
spec:
  hosts:
  - api.dropboxapi.com
  - www.googleapis.com
  - api.facebook.com
  location: MESH_EXTERNAL
  ports:
  - number: 443
    name: https
    protocol: TLS
  resolution: DNS
""",
    "MongoDB on unmanaged VMs": """
spec:
  hosts:
  - mymongodb.somedomain # not used
  addresses:
  - 192.192.192.192/24 # VIPs
  ports:
  - number: 27018
    name: mongodb
    protocol: MONGO
  location: MESH_INTERNAL
  resolution: STATIC
  endpoints:
  - address: 2.2.2.2
  - address: 3.3.3.3
""",
    "wildcard host without resolution": """
spec:
  hosts:
  - "*.bar.com"
  location: MESH_EXTERNAL
  ports:
  - number: 80
    name: http
    protocol: HTTP
  resolution: NONE
""",
    "Unix socket": """
spec:
  hosts: [example.unix.local]
  location: MESH_EXTERNAL
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints:
  - address: unix:///var/run/example/socket
""",
    "DNS endpoints with ports": """
spec:
  hosts: [foo.bar.com]
  location: MESH_EXTERNAL
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: DNS
  endpoints:
  - address: us.foo.bar.com
    ports: {http: 8080}
  - address: uk.foo.bar.com
    ports: {http: 9080}
  - address: in.foo.bar.com
    ports: {http: 7080}
""",
    "subject alternative names": """
spec:
  hosts: [httpbin.com]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 2.2.2.2}, {address: "2001:db8::1", weight: 2, locality: us/a}]
  subjectAltNames: ["spiffe://cluster.local/ns/httpbin-ns/sa/httpbin-service-account"]
""",
    "workload selector": """
spec:
  hosts: [details.bookinfo.com]
  location: MESH_INTERNAL
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}]
  resolution: STATIC
  workloadSelector: {labels: {app: details}}
""",
    "wildcard with DNS endpoints": """
spec:
  hosts: ["*.wikipedia.org"]
  ports: [{number: 443, name: https, protocol: HTTPS}]
  resolution: DNS
  endpoints: [{address: www.wikipedia.org}]
""",
    "round robin DNS, exported to its own namespace": """
spec:
  hosts: [Mixed-Case.Example.com.]
  ports: [{number: 443, name: tls, protocol: tls}]
  resolution: DNS_ROUND_ROBIN
  exportTo: ["."]
""",
    "dynamic DNS": """
spec:
  hosts: ["*.example.com"]
  ports: [{number: 443, name: https, protocol: HTTPS}]
  resolution: DYNAMIC_DNS
""",
    "no ports, exported to nobody": """
spec: {hosts: [a.example.com], exportTo: ["~"]}
""",
    "remote network without address": """
spec:
  hosts: [a.example.com]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{network: other}]
""",
    "TCP ports for several hosts without resolution": """
spec:
  hosts: [a.example.com, b.example.com]
  ports: [{number: 5432, name: tcp, protocol: TCP}, {number: 1, name: none}]
""",
}

_VIRTUAL_SERVICES = {
    "routes by path with a rewrite": """
spec:
  hosts:
  - reviews.prod.svc.cluster.local
  http:
  - name: "reviews-v2-routes"
    match:
    - uri:
        prefix: "/wpcatalog"
    - uri:
        prefix: "/consumercatalog"
    rewrite:
      uri: "/newcatalog"
    route:
    - destination:
        host: reviews.prod.svc.cluster.local
        subset: v2
  - name: "reviews-v1-route"
    route:
    - destination:
        host: reviews.prod.svc.cluster.local
        subset: v1
""",
    "short names and a timeout": """
spec:
  hosts: [reviews]
  http:
  - route: [{destination: {host: reviews, subset: v2}}]
    timeout: 0.5s
    retries: {attempts: 3, perTryTimeout: 2s, retryOn: "connect-failure,refused-stream,503"}
""",
    "cookie match and fault injection": """
spec:
  hosts: [ratings.prod.svc.cluster.local]
  http:
  - match: [{headers: {cookie: {regex: "^(.*?;)?(user=dev-123)(;.*)?$"}}}]
    route: [{destination: {host: ratings, subset: v1}}]
    fault:
      delay: {percentage: {value: 0.1}, fixedDelay: 5s}
      abort: {percentage: {value: 100}, httpStatus: 400}
  - route: [{destination: {host: ratings}, weight: 25}, {destination: {host: r2}, weight: 75}]
""",
    "gateways and a host for all": """
spec:
  hosts: ["*"]
  gateways: [bookinfo-gateway, some-config-namespace/my-gateway]
  http:
  - match: [{uri: {exact: /productpage}, port: 9080}, {uri: {prefix: ""}}]
    route: [{destination: {host: productpage, port: {number: 9080}}}]
""",
    "redirect": """
spec:
  hosts: [ratings.prod.svc.cluster.local]
  http:
  - match: [{uri: {exact: /v1/getProductRatings}}]
    redirect: {uri: /v1/bookRatings, authority: newratings.default.svc.cluster.local}
  - redirect: {scheme: https, derivePort: FROM_REQUEST_PORT, redirectCode: 302}
""",
    "direct responses": """
spec:
  hosts: [ratings.prod.svc.cluster.local]
  http:
  - match: [{uri: {exact: /v1/getProductRatings}}]
    directResponse: {status: 503, body: {string: "unknown error"}}
  - directResponse:
      status: 200
      body: {string: '{"error": "unknown error"}'}
    headers: {response: {set: {content-type: "text/plain"}}}
""",
    "mirrors and CORS": """
spec:
  hosts: [ratings.prod.svc.cluster.local]
  http:
  - route: [{destination: {host: ratings.prod.svc.cluster.local, subset: v1}}]
    mirrors:
    - {destination: {host: b.example.com}, percentage: {value: 100}}
    - {destination: {host: c.example.com}}
    corsPolicy:
      allowOrigins: [{exact: "https://example.com"}, {regex: ".*"}]
      allowMethods: [POST, GET]
      allowCredentials: false
      allowHeaders: [X-Foo-Bar, "*"]
      maxAge: "24h"
""",
    "TLS by SNI": """
spec:
  hosts: ["*.bookinfo.com"]
  gateways: [mygateway]
  tls:
  - match: [{port: 443, sniHosts: [login.bookinfo.com]}]
    route: [{destination: {host: login.prod.svc.cluster.local}}]
  - match: [{port: 443, sniHosts: ["*.bookinfo.com"]}]
    route: [{destination: {host: reviews.prod.svc.cluster.local}}]
""",
    "TCP": """
spec:
  hosts: [mongo.prod.svc.cluster.local]
  tcp:
  - match: [{port: 27017}]
    route: [{destination: {host: mongo.backup.svc.cluster.local, port: {number: 5555}}}]
""",
    "a root with delegates": """
spec:
  hosts: ["bookinfo.com"]
  gateways: [mygateway]
  http:
  - match: [{uri: {prefix: "/productpage"}}]
    delegate: {name: productpage, namespace: nsA}
""",
    "a delegate": """
spec:
  http:
  - match: [{uri: {regex: "/productpage/v1/.*"}}]
    route: [{destination: {host: productpage-v1.nsA.svc.cluster.local}}]
  - route: [{destination: {host: productpage.nsA.svc.cluster.local}}]
""",
    "header presence, absence and query parameters": """
spec:
  hosts: [a.example.com]
  http:
  - match:
    - headers: {x-any: {}}
      withoutHeaders: {x-none: {regex: "*"}, x-other: {}}
      queryParams: {"a[]": {exact: "1"}, empty: {exact: ""}, r: {regex: "\\\\d+$"}}
      ignoreUriCase: yes
    route: [{destination: {host: a.example.com}, weight: 0}]
  - route:
    - {destination: {host: a.example.com}, weight: 1}
    - {destination: {host: b.example.com}, weight: 0}
    headers:
      request: {set: {":authority": b.example.com, x-start: "%START_TIME(%s.%3f)%"}}
      response: {add: {x-peer: "a %DOWNSTREAM_REMOTE_ADDRESS% b 100%%"}, remove: [server]}
    rewrite: {uriRegexRewrite: {match: "^/service/([^/]+)(/.*)$", rewrite: '\\\\2/instance/\\\\1'}}
""",
    "JWT claims at a gateway": """
spec:
  hosts: [a.example.com]
  gateways: [edge]
  http:
  - match: [{headers: {"@request.auth.claims.groups": {exact: group1}}}]
    route: [{destination: {host: a.example.com}}]
""",
    "address as host, retries switched off": """
spec:
  hosts: [10.0.0.1, "2001:db8::1"]
  http:
  - route: [{destination: {host: a.example.com}}]
    retries: {attempts: 0}
    timeout: 1h2m3.004s
    match: []
""",
    "old spellings": """
spec:
  hosts: [a.example.com]
  http:
  - route: [{destination: {host: a.example.com}}]
    fault:
      delay: {percent: 10, percentage: 10, fixedDelay: 2s}
      abort: {percentage: 0.5, httpStatus: 500}
    mirror: {host: b.example.com}
    mirrorPercent: 50
    mirrorPercentage: 50
    corsPolicy: {allowOrigin: ["*"]}
""",
    "a former name and protobuf's names": """
spec:
  hosts: [a.example.com]
  http:
  - route: [{destination: {host: a.example.com}}]
    fault: {abort: {percent: 10, http_status: 500}}
    mirror: {host: b.example.com}
    mirror_percent: 50
""",
}

_DESTINATION_RULES = {
    "load balancer": """
spec:
  host: ratings.prod.svc.cluster.local
  trafficPolicy:
    loadBalancer: {simple: LEAST_REQUEST}
""",
    "subsets": """
spec:
  host: ratings.prod.svc.cluster.local
  trafficPolicy: {loadBalancer: {simple: LEAST_CONN}}
  subsets:
  - name: testversion
    labels: {version: v3}
    trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}
  - name: all
""",
    "port settings": """
spec:
  host: ratings.prod.svc.cluster.local
  trafficPolicy:
    portLevelSettings:
    - port: {number: 80}
      loadBalancer: {simple: LEAST_REQUEST}
    - port: {number: 9080}
      loadBalancer: {simple: ROUND_ROBIN}
""",
    "connection pool and outlier detection": """
spec:
  host: reviews.prod.svc.cluster.local
  trafficPolicy:
    connectionPool:
      tcp:
        maxConnections: 100
        connectTimeout: 30ms
        idleTimeout: 0s
        tcpKeepalive: {time: 7200s, interval: 75s}
      http: {http2MaxRequests: 1000, maxRequestsPerConnection: 10}
    outlierDetection:
      consecutive5xxErrors: 7
      interval: 5m
      baseEjectionTime: 15m
      maxEjectionPercent: 100
""",
    "old name of outlier detection": """
spec:
  host: reviews
  trafficPolicy: {outlierDetection: {consecutiveErrors: 5}, connectionPool: {http: {}}}
""",
    "mutual TLS by files": """
spec:
  host: mydbserver.prod.svc.cluster.local
  trafficPolicy:
    tls:
      mode: MUTUAL
      clientCertificate: /etc/certs/myclientcert.pem
      privateKey: /etc/certs/client_private_key.pem
      caCertificates: /etc/certs/rootcacerts.pem
""",
    "TLS to everything": """
spec: {host: "*.foo.com", trafficPolicy: {tls: {mode: SIMPLE}}}
""",
    "mesh TLS": """
spec:
  host: ratings.prod.svc.cluster.local
  trafficPolicy: {tls: {mode: ISTIO_MUTUAL, sni: a, subjectAltNames: [b]}}
""",
    "credential by name": """
spec:
  host: a.example.com
  trafficPolicy: {tls: {mode: MUTUAL, credentialName: client-credential, sni: a.example.com}}
""",
    "verification switched off": """
spec:
  host: "*"
  trafficPolicy: {tls: {mode: SIMPLE, insecureSkipVerify: true}}
""",
    "TLS switched off but with names": """
spec: {host: a.example.com, trafficPolicy: {tls: {subjectAltNames: [a]}}}
""",
    "hash by cookie": """
spec:
  host: ratings.prod.svc.cluster.local
  trafficPolicy:
    loadBalancer:
      consistentHash:
        httpCookie: {name: user, ttl: 0s}
        maglev: {tableSize: "65537"}
""",
    "locality": """
spec:
  host: a.example.com
  trafficPolicy:
    loadBalancer:
      localityLbSetting:
        enabled: true
        distribute:
        - from: us-west/zone1/*
          to: {"us-west/zone1/*": 80, "us-west/zone2/*": 20}
        - from: us-west/zone2/*
          to: {"us-west/zone1/*": 20, "us-west/zone2/*": 80}
""",
    "failover and warm-up": """
spec:
  host: a.example.com
  trafficPolicy:
    outlierDetection: {}
    loadBalancer:
      simple: ROUND_ROBIN
      warmup: {duration: 30s, aggression: 1, minimumPercent: 10}
      localityLbSetting: {failover: [{from: us-east, to: eu-west}, {from: eu-west, to: us-east}]}
""",
    "tunnel in a subset": """
spec:
  host: tls.example.com
  subsets:
  - name: tls-to-proxy
    trafficPolicy:
      tunnel: {protocol: POST, targetHost: 10.0.0.1, targetPort: 443}
""",
}

_GATEWAYS = {
    "several servers": """
spec:
  selector: {app: my-gateway-controller}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: [uk.bookinfo.com, eu.bookinfo.com]
    tls: {httpsRedirect: true}
  - port: {number: 443, name: https-443, protocol: HTTPS}
    hosts: [uk.bookinfo.com, "*"]
    tls: {mode: SIMPLE, serverCertificate: /etc/certs/c.pem, privateKey: /etc/certs/k.pem}
  - port: {number: 9443, name: https-9443, protocol: HTTPS}
    hosts: ["bookinfo-namespace/*.bookinfo.com"]
    tls: {mode: SIMPLE, credentialName: bookinfo-secret}
  - port: {number: 9080, name: http-wildcard, protocol: HTTP}
    hosts: ["*", "./*", "*/a.b", 10.0.0.1]
  - port: {number: 2379, name: mongo, protocol: MONGO}
    hosts: ["*"]
  - port: {number: 15443, name: tls, protocol: TLS}
    hosts: ["*.local"]
    tls: {mode: AUTO_PASSTHROUGH}
  - port: {number: 1, name: mutual, protocol: HTTPS}
    hosts: [a.b]
    tls: {mode: OPTIONAL_MUTUAL, credentialNames: [a, b]}
  - port: {number: 2, name: pairs, protocol: HTTPS}
    hosts: [a.b]
    tls:
      mode: MUTUAL
      caCertificates: /ca.pem
      tlsCertificates: [{serverCertificate: /a, privateKey: /b}]
""",
    "bound to a Unix socket": """
spec:
  servers:
  - port: {number: 0, name: http, protocol: HTTP2}
    bind: unix:///var/run/gateway.sock
    hosts: ["*.example.com"]
""",
}

_WORKLOADS = {
    "address": """
spec:
  serviceAccount: details-legacy
  address: 2.2.2.2
  labels: {app: details-legacy, instance-id: vm1}
""",
    "name": """
spec: {address: vm1.vpc01.corp.net, labels: {app: details-legacy}, ports: {http: 8080}}
""",
    "network": """
spec: {network: net1, weight: 1, locality: region/zone/subzone}
""",
}

_OTHER_FORMS: dict[str, str] = {
    "what kubectl get -o yaml says": _resource(
        "ServiceEntry",
        "spec: {hosts: [a.b]}\nstatus: {conditions: [], anything: 1}\n",
        "v1beta1",
        "\n  name: a.b-c\n  namespace: istio-system\n  uid: 1b4e\n  resourceVersion: '12'\n"
        "  generation: 3\n  creationTimestamp: 2024-01-02T03:04:05Z\n  managedFields: [{a: b}]\n"
        "  ownerReferences: []\n  finalizers: [x]\n  selfLink: /a\n"
        "  annotations:\n    kubectl.kubernetes.io/last-applied-configuration: '{}'\n"
        "  labels: {app.kubernetes.io/name: a, version: v1.2, empty: ''}",
    ),
    "creationTimestamp null": _resource(
        "ServiceEntry", "spec: {hosts: [a.b]}\n", "v1alpha3", "{name: a, creationTimestamp: null}"
    ),
    "nulls for fields not set": _resource(
        "ServiceEntry",
        "spec: {hosts: [a.b], ports: null, resolution: ~, endpoints: , exportTo: null}\n",
    ),
    "JSON": '{"apiVersion": "networking.istio.io/v1", "kind": "WorkloadEntry",\n'
    '\t"metadata": {"name": "a"}, "spec": {"address": "192.0.2.1", "ports": {"a": 8e1},\n'
    '\t\t"labels": {"a": "b\\/c"}}}'.replace("b\\/c", "b-c"),
    "JSON with a character past U+FFFF": '{"apiVersion": "networking.istio.io/v1", "kind":'
    ' "VirtualService", "metadata": {"name": "a"}, "spec": {"hosts": ["a.b"], "http":'
    ' [{"directResponse": {"status": 200, "body": {"string": "\\ud83d\\ude00 \\/ \\u00e9"}}}]}}',
    "a list": "apiVersion: v1\nkind: List\nmetadata: {resourceVersion: ''}\nitems:\n- "
    + _resource("ServiceEntry", "spec: {hosts: [a.b]}").replace("\n", "\n  ")
    + "\n",
    "anchors and merge keys": _resource(
        "ServiceEntry",
        """
spec:
  hosts: [a.b]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints:
  - &one {address: 192.0.2.1, labels: &labels {version: v1}, ports: {http: 0x50}}
  - {<<: *one, address: 192.0.2.2}
  - {address: 192.0.2.3, labels: *labels, weight: 1_000}
""",
    ),
    "documents and comments": "# nothing\n---\n---\n"
    + _resource("ServiceEntry", "spec: {hosts: [a.b]}\n")
    + "---\n# nothing\n...\n",
}

_SIDECARS = {
    "default of a namespace": """
spec:
  egress:
  - hosts: ["./*", "istio-system/*"]
""",
    "only known hosts": """
spec:
  workloadSelector: {labels: {app: gateway}}
  outboundTrafficPolicy: {mode: REGISTRY_ONLY}
  egress: [{hosts: ["*/*"]}]
""",
    "one host, nothing else": """
spec: {egress: [{hosts: ["~/*", "./a.example.com", "prod/*.example.com"]}]}
""",
}

_POLICIES = {
    "allow nothing": """
spec: {}
""",
    "allow all": """
spec: {rules: [{}]}
""",
    "deny by host and port": """
spec:
  action: DENY
  rules: [{to: [{operation: {hosts: [a.example.com, "a.example.com:*"], ports: ["80"]}}]}]
""",
    "audit by address": """
spec:
  action: AUDIT
  selector: {matchLabels: {app: gateway}}
  rules: [{from: [{source: {ipBlocks: [10.0.0.0/8, "::1"]}}]}]
""",
}

_KINDS = {
    "ServiceEntry": _SERVICE_ENTRIES,
    "VirtualService": _VIRTUAL_SERVICES,
    "DestinationRule": _DESTINATION_RULES,
    "Gateway": _GATEWAYS,
    "WorkloadEntry": _WORKLOADS,
    "Sidecar": _SIDECARS,
}

VALID: Final[dict[str, str]] = (
    {
        f"{kind}: {name}": _resource(kind, spec.lstrip("\n"))
        for kind, specs in _KINDS.items()
        for name, spec in specs.items()
    }
    | {
        f"AuthorizationPolicy: {name}": _resource("AuthorizationPolicy", spec.lstrip("\n")).replace(
            "networking", "security"
        )
        for name, spec in _POLICIES.items()
    }
    | _OTHER_FORMS
)
"""Name and text of each; the text holds exactly one resource."""
