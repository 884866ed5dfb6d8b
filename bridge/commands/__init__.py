"""What the commands do, by family."""
