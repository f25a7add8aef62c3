"""Report: the plan and its records as tables, figures and one self-contained page; the verdict page over them all."""

from vision_attn.report.index import build_all, write_table
from vision_attn.report.page import build, write
from vision_attn.report.renewal import renew

__all__ = ["build", "build_all", "renew", "write", "write_table"]
