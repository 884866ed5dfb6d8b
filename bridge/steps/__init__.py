"""The operations of the bridge, one module each, for the API, the commands and the worker.

Most transactions begin here; those of polls and callbacks begin in the worker's loop.
"""
