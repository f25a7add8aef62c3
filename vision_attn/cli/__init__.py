"""The command `vision-attn`: run experiments, read results, look at data and machine. The only package that prints."""

from vision_attn.cli.command import app, main

__all__ = ["app", "main"]
