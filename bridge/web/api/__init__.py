"""The operations of the REST API: each module except `filters` defines some of them, in a Resource."""
