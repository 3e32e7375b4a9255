"""Real servers for the integration tests: fetched once into `.servers/`, started on free loopback
ports, always ended. One module a server; nothing here imports egressd or its adapters."""
