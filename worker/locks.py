"""Files that a process holds for as long as it runs: however it ends, they are free then.

They are its own, not its child's: a child that outlives it does not keep them from its successor.
"""

import fcntl
import os
from pathlib import Path
from typing import IO


def locked(path: Path) -> IO[str] | None:
    """The file, made when missing, locked until it is closed; None when another process holds it,
    or it is another user's.
    """
    try:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "w")
    except OSError:  # another user's
        return None
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file
