"""`python -m vision_attn.cli` is `vision-attn`."""

from vision_attn.cli import main

main()
