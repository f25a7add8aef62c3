"""The documentation as a static site: pages, experiments, a gallery of figures, the reference of all public names."""

from vision_attn.site.building import build

__all__ = ["build"]
