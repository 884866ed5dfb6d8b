"""The whole job in under a minute, on loopback: `make demo`."""
