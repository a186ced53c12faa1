"""Become another program that may use only so much: `confined.py MEMORY CPU FILE COMMAND…`.

Run as a program, never imported by the service. For readers of strangers' files that are programs
of their own (`app/clips.py`): address space in bytes, CPU time in seconds, size of a file in bytes.
"""

import os
import resource
import sys

OPEN_FILES = 64


def main() -> None:
    """Set the limits, then turn into the command; they stay with it and its threads."""
    memory_bytes, cpu_s, file_bytes = (int(argument) for argument in sys.argv[1:4])
    for what, amount in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (amount, amount))
    os.execv(sys.argv[4], sys.argv[4:])  # noqa: S606  (the parent's argument list, no shell)


if __name__ == "__main__":
    main()
