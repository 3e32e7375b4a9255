"""What `egressd validate` cannot see in one resource: findings about resources taken together, as this
node would use them. Pure but for certificate files, which are read; imports everything up to `upstream`,
and no socket."""
