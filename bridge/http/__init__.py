"""Outgoing HTTP: each request has one deadline, and callbacks go only to allowed addresses.

With a proxy, the proxy must see to the addresses of host names.
"""
