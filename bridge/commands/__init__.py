"""The commands of `python -m bridge`: a function for each, in a module for each group of commands."""
