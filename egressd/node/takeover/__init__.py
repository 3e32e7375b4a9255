"""From one supervisor to the next: sockets that outlive it, workers that serve on without it, and the
upgrade in place. docs/upgrade.md has the contract."""
