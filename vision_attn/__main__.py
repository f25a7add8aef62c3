"""`python -m vision_attn` is `vision-attn`: files of the current folder, such as a `torch.py`, are no modules to it."""

import os
import sys

if __name__ == "__main__":
    if sys.path[0] == os.getcwd():
        del sys.path[0]
    from vision_attn.cli import main

    main()
