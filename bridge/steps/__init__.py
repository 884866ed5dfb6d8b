"""The bridge's operations, which the API, the commands and the worker call.

Most database transactions begin in these modules. The transactions for polls and callbacks begin in the worker's loop.
"""
