"""Every SQL statement, by topic. Each function works inside the caller's transaction."""
