"""Start: run `main` of a module of the package that this very file belongs to, and of no other of its name.

    python -P vision_attn/start.py vision_attn.worker ARGUMENTS

With `-P` neither the current directory nor this file's is searched for modules, so that what lies there by chance,
a `queue.py` or another copy of the package, takes the place of nothing.
"""

import importlib.util
import sys
from pathlib import Path

NAME = "vision_attn"


def main() -> None:
    """Import the package from its folder, then call the `main` of the module that is named first."""
    folder = Path(__file__).resolve().parent
    spec = importlib.util.spec_from_file_location(
        NAME, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    sys.modules[NAME] = package = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)
    importlib.import_module(sys.argv.pop(1)).main()


if __name__ == "__main__":
    main()
