"""What `egressd demo` shows: origins, resources and traffic around a real node. Nothing else of
egressd imports this room; it starts the node as any operator would, by `egressd run`."""
