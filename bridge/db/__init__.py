"""The database: its tables, and every SQL statement, in one module for each family of tables."""
