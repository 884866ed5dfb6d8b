"""The database: its tables, and the bridge's SQL statements."""
