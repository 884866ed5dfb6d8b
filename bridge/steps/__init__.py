"""What the bridge does for its callers, one module for each: every transaction begins here."""
