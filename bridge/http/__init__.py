"""Outgoing HTTP: each request has one deadline, and callbacks go only to allowed addresses."""
