"""Homes: in which packages a public name is that is not at the top; told from their text, so that none is imported."""

from pathlib import Path

PACKAGES = ("data", "figures", "layers", "models", "probes", "records", "spec", "statistics", "training", "verdicts")
"""What `import vision_attn as va` has as va.probes and so on, without a further import."""
FILES = {"models": ("__init__", "mixers")}
"""The files of a package with its public names, where these are not all in the first."""


def homes(name: str) -> list[str]:
    """The packages that list a public name."""
    found = []
    for package in PACKAGES:
        files = [Path(__file__).parent / package / f"{file}.py" for file in FILES.get(package, ("__init__",))]
        if any(file.is_file() and f'"{name}"' in file.read_text("utf-8") for file in files):
            found.append(package)
    return found
