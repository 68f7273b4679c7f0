"""What the process may read: the installed Python, its packages, and the system's libraries.

Not the directory that the service runs in, which holds its settings on a developer's machine, and
not the rest of /proc, /etc, /tmp, /dev and the home directories.
"""

from __future__ import annotations

import site
import sys
import sysconfig
from functools import cache
from pathlib import Path

import workers

_SYSTEM = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/share/zoneinfo",
    "/etc/ld.so.cache",  # where the dynamic linker finds libraries
    "/etc/localtime",
    # How many processors there are: joblib, OpenBLAS and os.cpu_count
    "/sys/devices/system/cpu",
    "/sys/fs/cgroup/cpu.max",
    "/sys/fs/cgroup/cpu/cpu.cfs_period_us",
    "/sys/fs/cgroup/cpu/cpu.cfs_quota_us",
    "/proc/self/maps",  # threadpoolctl lists the loaded libraries
)


@cache
def installation() -> tuple[Path, ...]:
    """Return the files and directories that Python and the installed packages are read from.

    An entry of `sys.path` that holds this project's packages is left out: of the project only the
    packages `workers` and `mlsys` may be read.
    """
    ours = [Path(path).resolve() for path in workers.__path__]
    roots = {path.parent for path in ours}
    paths = [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib")]
    paths += [Path(path) for path in site.getsitepackages()]
    paths += [Path(path) for path in sys.path if path]
    resolved = {path.resolve() for path in paths}
    own = {path for path in resolved if not any(root.is_relative_to(path) for root in roots)}
    return tuple(sorted({*own, *ours, *map(Path, _SYSTEM)}))
