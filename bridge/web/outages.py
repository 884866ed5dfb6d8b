"""Why a database is away, in words that help whoever reads them."""

# What the databases say, and what it means; in this order.
_WHY = (
    (("disk is full", "no space left", "could not extend"), "The database's disk is full."),
    (("disk i/o error",), "The database's disk does not work."),
    (("readonly", "read-only"), "The database can only be read at the moment."),
    (("locked", "timeout", "too many"), "The database is busy."),
)


def why(error: Exception) -> str | None:
    """Return a sentence; None when it can simply not be reached."""
    said = str(error).lower()
    return next((meaning for words, meaning in _WHY if any(word in said for word in words)), None)
