"""The command `vision-attn`: run experiments, read results, look at data and machine. The only package that prints."""

import os
import sys

from vision_attn.signals import STOPPED, Interrupted, raised

__all__ = ["main"]


def main() -> None:
    """Run the command. Signals are heard from here on: to import the verbs takes most of the first second."""
    try:
        with raised():
            from vision_attn.cli import command

            command.main()
    except Interrupted as error:
        print(f"Error: Stopped by {error}. The same command continues.", file=sys.stderr, flush=True)
        os._exit(STOPPED)  # a library that is half imported bears no orderly end
