"""`make demo`: imports, watches and callbacks of every outcome in under a minute, on loopback."""
