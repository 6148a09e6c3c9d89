"""Processes of this machine, as /proc tells of them."""

from pathlib import Path


def command(pid):
    """Command line of a process; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def stat(pid):
    """Fields of a process after its name, from the state on; None if it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def start_time(pid):
    fields = stat(pid)
    return int(fields[19]) if fields else 0


def parent(pid):
    fields = stat(pid)
    return int(fields[1]) if fields else 0


def descendants(pid):
    """Process ids of children, grandchildren and so on."""
    parents = {int(p.name): parent(p.name) for p in Path("/proc").glob("[0-9]*")}
    found = [pid]
    for member in found:  # grows as it goes
        found += [child for child, its_parent in parents.items() if its_parent == member]
    return found[1:]
