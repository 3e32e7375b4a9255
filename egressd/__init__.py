"""egressd: an egress gateway and service-registry node for plain VMs."""

__version__ = "0.1.0"
