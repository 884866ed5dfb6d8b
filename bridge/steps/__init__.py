"""What the bridge does, a module for each task. The transactions of the API, the commands and the worker begin here."""
