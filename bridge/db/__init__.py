"""The database: the tables, and every statement, a module for each family of tables."""
