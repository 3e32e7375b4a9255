"""Valid resources that state as many fields as can stand together; the cases change one of them."""

from __future__ import annotations

from typing import Any

import yaml


def _load(text: str) -> dict[str, Any]:
    document = yaml.safe_load(text)
    assert isinstance(document, dict)
    return document


SERVICE_ENTRY = _load("""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: billing, namespace: shop, labels: {app: billing}, annotations: {note: a b}}
spec:
  hosts: [billing.example.com]
  addresses: [10.0.0.1, 10.1.0.0/16]
  ports:
  - {number: 80, name: http, protocol: HTTP, targetPort: 8080}
  - {number: 443, name: https, protocol: HTTPS}
  location: MESH_EXTERNAL
  resolution: STATIC
  endpoints:
  - address: 192.0.2.1
    ports: {http: 8081}
    labels: {version: v1}
    network: net1
    locality: eu/a/1
    weight: 3
    serviceAccount: billing
  exportTo: ["."]
  subjectAltNames: ["spiffe://a/b"]
""")

DNS_ENTRY = _load("""
apiVersion: networking.istio.io/v1beta1
kind: ServiceEntry
metadata: {name: search}
spec:
  hosts: [search.example.com]
  ports: [{number: 443, name: tls, protocol: TLS}]
  resolution: DNS
  endpoints: [{address: eu.search.example.com, ports: {tls: 8443}}]
""")

SELECTING_ENTRY = _load("""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: selecting}
spec:
  hosts: [selecting.example.com]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  workloadSelector: {labels: {app: a}}
""")

WORKLOAD_ENTRY = _load("""
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm-1}
spec:
  address: 192.0.2.7
  ports: {http: 8080}
  labels: {app: vm}
  network: net1
  locality: eu/a/1
  weight: 1
  serviceAccount: vm
""")

VIRTUAL_SERVICE = _load("""
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {name: reviews, namespace: shop}
spec:
  hosts: [reviews.example.com]
  gateways: [mesh, shop/edge]
  exportTo: ["*"]
  http:
  - name: first
    match:
    - name: jason
      uri: {prefix: /api}
      scheme: {exact: http}
      method: {exact: GET}
      authority: {regex: "reviews.*"}
      headers: {end-user: {exact: jason}, x-version: {regex: "v[0-9]+"}}
      port: 80
      sourceLabels: {app: web}
      gateways: [mesh]
      queryParams: {page: {exact: "1"}}
      ignoreUriCase: true
      withoutHeaders: {x-debug: {prefix: "on"}}
      sourceNamespace: shop
      statPrefix: api
    route:
    - destination: {host: reviews.example.com, subset: v1, port: {number: 80}}
      weight: 90
      headers:
        request: {set: {x-a: "1"}, add: {x-b: "2"}, remove: [x-c]}
        response: {set: {x-d: "%START_TIME%"}, add: {x-e: "100%%"}, remove: [x-f]}
    - destination: {host: reviews.example.com, subset: v2}
      weight: 10
    rewrite: {uri: /v2, authority: internal.example.com}
    timeout: 1h30m
    retries:
      attempts: 3
      perTryTimeout: 0.5s
      retryOn: 5xx,reset,503,unavailable
      retryRemoteLocalities: false
      retryIgnorePreviousHosts: true
      backoff: 25ms
    fault:
      delay: {percentage: {value: 0.1}, fixedDelay: 5s}
      abort: {percentage: {value: 10}, httpStatus: 503}
    mirror: {host: shadow.example.com, subset: v1, port: {number: 81}}
    mirrorPercentage: {value: 50}
    corsPolicy:
      allowOrigins: [{exact: "https://example.com"}]
      allowMethods: [GET]
      allowHeaders: [x-a]
      exposeHeaders: [x-b]
      maxAge: 24h
      allowCredentials: true
      unmatchedPreflights: FORWARD
    headers:
      request: {set: {x-g: a}, add: {x-h: b}, remove: [x-i]}
      response: {set: {x-j: a}, add: {x-k: b}, remove: [x-l]}
  - name: moved
    match: [{uri: {exact: /old}}]
    redirect: {uri: /new, authority: example.org, port: 8080, scheme: https, redirectCode: 308}
  - name: answered
    match: [{uri: {regex: "/status/[a-z]+"}}]
    directResponse: {status: 204, body: {string: none}}
  - name: mirrored
    route: [{destination: {host: reviews.example.com}}]
    rewrite: {uriRegexRewrite: {match: "/(a)/(b)", rewrite: '/\\2/\\1'}}
    mirrors: [{destination: {host: shadow.example.com}, percentage: {value: 1.5}}]
  tls:
  - match:
    - sniHosts: [reviews.example.com]
      destinationSubnets: [10.0.0.0/8]
      port: 443
      sourceLabels: {app: web}
      gateways: [mesh]
      sourceNamespace: shop
    route: [{destination: {host: reviews.example.com, port: {number: 443}}, weight: 100}]
  tcp:
  - match:
    - destinationSubnets: [10.0.0.0/8]
      port: 27017
      sourceSubnet: 10.1.0.0/16
      sourceLabels: {app: web}
      gateways: [mesh]
      sourceNamespace: shop
    route: [{destination: {host: mongo.example.com, port: {number: 27017}}, weight: 100}]
""")

DESTINATION_RULE = _load("""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: shop}
spec:
  host: reviews.example.com
  exportTo: ["."]
  workloadSelector: {matchLabels: {app: web}}
  trafficPolicy:
    loadBalancer:
      simple: LEAST_REQUEST
      localityLbSetting:
        enabled: true
        distribute: [{from: eu/a/*, to: {eu/a/*: 80, eu/b/*: 20}}]
      zoneAwareLbSetting:
        enabled: true
        failover: [{from: a, to: b}]
        failoverPriority: [topology.istio.io/network]
        minClusterSize: 6
      warmup: {duration: 10s, minimumPercent: 10, aggression: 1.5}
    connectionPool:
      tcp:
        maxConnections: 100
        connectTimeout: 30ms
        maxConnectionDuration: 1h
        idleTimeout: 10m
        tcpKeepalive: {probes: 9, time: 7200s, interval: 75s}
      http:
        http1MaxPendingRequests: 100
        http2MaxRequests: 1000
        maxRequestsPerConnection: 10
        maxRetries: 3
        idleTimeout: 15s
        h2UpgradePolicy: DEFAULT
        useClientProtocol: false
        maxConcurrentStreams: 100
        http2KeepAlive: {interval: 5s, timeout: 1s}
    outlierDetection:
      splitExternalLocalOriginErrors: true
      consecutiveLocalOriginFailures: 5
      consecutiveGatewayErrors: 5
      consecutive5xxErrors: 5
      interval: 5s
      baseEjectionTime: 30s
      maxEjectionPercent: 50
      minHealthPercent: 0
      outlierDetectionHttpErrorCodes: [502]
    tls:
      mode: MUTUAL
      clientCertificate: /c.pem
      privateKey: /k.pem
      caCertificates: /ca.pem
      subjectAltNames: [reviews]
      sni: reviews.example.com
      insecureSkipVerify: false
      caCrl: /crl.pem
    portLevelSettings:
    - port: {number: 80}
      loadBalancer: {simple: ROUND_ROBIN}
      connectionPool: {tcp: {maxConnections: 1}}
      outlierDetection: {interval: 1s}
      tls: {mode: DISABLE}
    proxyProtocol: {version: V2}
    retryBudget: {percent: 20, minRetryConcurrency: 3, budgetInterval: 10s}
  subsets:
  - name: v1
    labels: {version: v1}
    trafficPolicy: {loadBalancer: {simple: RANDOM}}
  - name: v2
    labels: {version: v2}
    trafficPolicy: {tunnel: {protocol: CONNECT, targetHost: a.example.com, targetPort: 443}}
""")

HASHING_RULE = _load("""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: hashing}
spec:
  host: "*.example.com"
  trafficPolicy:
    loadBalancer:
      consistentHash:
        httpCookie: {name: user, path: /, ttl: 0s, attributes: [{name: SameSite, value: Lax}]}
        ringHash: {minimumRingSize: 1024}
      localityLbSetting:
        enabled: true
        failover: [{from: eu, to: us}]
        failoverPriority: [topology.istio.io/network]
    outlierDetection: {interval: 1s}
""")

GATEWAY = _load("""
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec:
  selector: {app: edge}
  servers:
  - name: plain
    port: {number: 80, name: http, protocol: HTTP}
    hosts: ["*.example.com", "shop/a.example.org"]
    tls: {httpsRedirect: true}
  - port: {number: 443, name: https, protocol: HTTPS}
    bind: 127.0.0.1
    hosts: [./b.example.com]
    defaultEndpoint: 127.0.0.1:80
    tls:
      httpsRedirect: false
      mode: MUTUAL
      serverCertificate: /s.pem
      privateKey: /k.pem
      caCertificates: /ca.pem
      caCrl: /crl.pem
      subjectAltNames: [spiffe://a]
      verifyCertificateSpki: [abc]
      verifyCertificateHash: [abc]
      minProtocolVersion: TLSV1_2
      maxProtocolVersion: TLSV1_3
      cipherSuites: [ECDHE-RSA-AES128-GCM-SHA256]
      insecureSkipVerify: false
  - port: {number: 444, name: https-secret, protocol: HTTPS}
    hosts: [c.example.com]
    tls: {mode: SIMPLE, credentialName: c}
  - port: {number: 445, name: tls, protocol: TLS}
    hosts: [d.example.com]
    tls: {mode: PASSTHROUGH}
""")

SIDECAR = _load("""
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: shop, namespace: shop}
spec:
  workloadSelector: {labels: {app: gateway}}
  ingress:
  - port: {number: 9080, protocol: HTTP, name: http}
    bind: 127.0.0.1
    captureMode: NONE
    defaultEndpoint: 127.0.0.1:8080
    tls: {mode: SIMPLE, serverCertificate: /s.pem, privateKey: /k.pem}
    connectionPool: {http: {http1MaxPendingRequests: 10}}
  - port: {number: 9081, protocol: TCP, name: tcp}
    defaultEndpoint: "unix:///run/a.sock"
  inboundConnectionPool: {tcp: {maxConnections: 10}}
  egress:
  - port: {number: 3306, protocol: MYSQL, name: egressmysql}
    bind: 127.0.0.1
    captureMode: IPTABLES
    hosts: ["./mysql.example.com"]
  - port: {protocol: HTTP, name: socket}
    bind: "unix:///run/http.sock"
    hosts: ["./a.example.com"]
  - hosts: ["./*", "istio-system/*", "*/*.example.com", "~/b.example.org"]
  outboundTrafficPolicy:
    mode: ALLOW_ANY
    egressProxy: {host: proxy.example.com, subset: v1, port: {number: 3128}}
""")

AUTHORIZATION_POLICY = _load("""
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: shop, namespace: shop, annotations: {istio.io/dry-run: "true"}}
spec:
  selector: {matchLabels: {app: gateway}}
  action: DENY
  rules:
  - from:
    - source:
        principals: [cluster.local/ns/default/sa/sleep]
        notPrincipals: ["*/sa/root"]
        requestPrincipals: ["*"]
        notRequestPrincipals: [a/b]
        namespaces: [dev]
        notNamespaces: [prod-*]
        ipBlocks: [10.0.0.0/8]
        notIpBlocks: [10.1.2.3]
        remoteIpBlocks: ["2001:db8::/32"]
        notRemoteIpBlocks: ["2001:db8::1"]
    - source: {serviceAccounts: [dev/sleep, root], notServiceAccounts: [a]}
    to:
    - operation:
        hosts: [a.example.com, "*.example.org"]
        notHosts: [b.example.org]
        ports: ["80", "443"]
        notPorts: ["8080"]
        methods: [GET]
        notMethods: [HEAD]
        paths: [/info*, "*/x", "/a/{*}/b/{**}"]
        notPaths: [/admin]
    when:
    - {key: "request.headers[x-token]", values: [admin, "*"], notValues: [guest]}
    - {key: source.ip, values: [10.0.0.0/8]}
    - {key: destination.port, notValues: ["1"]}
    - {key: connection.sni, values: ["*.example.com"]}
    - {key: "request.auth.claims[iss]", values: [a]}
    - {key: "experimental.envoy.filters.a[b]", values: [a]}
""")

CUSTOM_POLICY = _load("""
apiVersion: security.istio.io/v1beta1
kind: AuthorizationPolicy
metadata: {name: custom}
spec:
  action: CUSTOM
  provider: {name: my-authz}
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]
  rules:
  - from: [{source: {ipBlocks: [10.0.0.0/8]}}]
    to: [{operation: {paths: [/admin]}}]
    when: [{key: source.ip, values: [10.0.0.1]}]
""")

TARGET_POLICY = _load("""
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: target}
spec:
  targetRef: {kind: Service, name: reviews}
  rules: [{to: [{operation: {methods: [GET]}}]}]
""")

BASES = (
    SERVICE_ENTRY,
    DNS_ENTRY,
    SELECTING_ENTRY,
    WORKLOAD_ENTRY,
    VIRTUAL_SERVICE,
    DESTINATION_RULE,
    HASHING_RULE,
    GATEWAY,
    SIDECAR,
    AUTHORIZATION_POLICY,
    CUSTOM_POLICY,
    TARGET_POLICY,
)
