"""How many files and sockets this process may have open at a time."""

import resource


class TooFewDescriptors(Exception):
    """The system lets this process have fewer descriptors than it needs."""

    def __init__(self, *, allowed: int) -> None:
        self.allowed = allowed
        super().__init__(str(self.__doc__))


def ensure(needed: int) -> None:
    """Raise this process's limit of descriptors to `needed`, if it is lower; the processes that it starts inherit it.

    Raises TooFewDescriptors when the hard limit (getrlimit(2)) forbids it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    except (ValueError, OSError):
        raise TooFewDescriptors(allowed=hard) from None
