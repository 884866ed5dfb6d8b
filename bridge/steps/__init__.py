"""The bridge's operations, which the API, the admin page, the commands and the worker call."""
