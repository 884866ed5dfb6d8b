"""Outgoing HTTP: each request has one deadline; without a proxy, callbacks go only to allowed addresses."""
