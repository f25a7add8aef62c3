"""Report: the plan and its records as tables, figures and one self-contained page."""

from vision_attn.report.page import build, write

__all__ = ["build", "write"]
