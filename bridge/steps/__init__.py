"""The bridge's operations, which the API, the admin page, the commands and the worker call.

Most operations begin their own database transactions; polls and callbacks use those of the worker's loop.
"""
