"""The operations of the bridge, one module each, for the API, the commands and the worker.

Their transactions begin here, except those of the worker's loop.
"""
