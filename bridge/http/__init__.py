"""HTTP out: requests with one deadline, only to addresses that may be called."""
