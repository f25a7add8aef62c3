"""`python -m vision_attn` is `vision-attn`."""

from vision_attn.cli import main

if __name__ == "__main__":
    main()
