"""The commands: a function for each, in a module for each group of commands."""
