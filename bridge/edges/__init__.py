"""Talks: one module per outside party; expected answers are values, not exceptions."""
