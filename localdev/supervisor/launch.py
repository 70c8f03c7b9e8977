"""`launch.py PARENT USER COMMAND…`: the last step before a service's program, run as a bare file so that it costs milliseconds.

Asks the kernel for SIGTERM when the supervisor's thread dies (covers the moment before the reaper knows the group) and gives up root when USER is not "-".
The order matters: changing the user clears the death signal, so it comes first. Everything is imported before, since the new user may not be able to read it.
"""

import ctypes
import os
import pwd
import signal
import sys

PR_SET_PDEATHSIG = 1


def drop_root(user: str) -> None:
    """Become `user`, with no group of root's left."""
    entry = pwd.getpwnam(user)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


def die_with(parent: int, libc: ctypes.CDLL) -> None:
    """SIGTERM when the parent dies; leave at once when it is dead already."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the supervisor is gone")


def main() -> None:
    """Become the service's program."""
    parent, user, *command = sys.argv[1:]
    libc = ctypes.CDLL(None)
    if user != "-":
        drop_root(user)
    if sys.platform == "linux":
        die_with(int(parent), libc)
    try:
        os.execvp(command[0], command)  # noqa: S606 a list of arguments, no shell
    except OSError as error:
        sys.exit(f"cannot run {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
