"""Print the named packages that this interpreter has, with their versions.

    python benchmarks/installed_versions.py PACKAGE...

`readers.py` starts this script in the interpreters of the readers; it imports nothing of crnn-cli.
"""

from __future__ import annotations

import sys
from importlib.metadata import distributions


def main(names: list[str]) -> None:
    found = set()
    for distribution in distributions():
        name = distribution.metadata["Name"].replace("_", "-")
        if name in names:
            found.add(f"{name} {distribution.version}")
    print(", ".join(sorted(found)))


if __name__ == "__main__":
    main(sys.argv[1:])
