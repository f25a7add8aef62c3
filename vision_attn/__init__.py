"""When is self-attention better than convolution on images, when is it worse, and why?

What an experiment file always needs stands here, all else in `vision_attn.data`, `.figures`, `.layers`, `.models`,
`.probes`, `.statistics`, `.training` and `.verdicts`. Names are imported on first use, as `__init__.pyi` lists them, so
that reading results needs no torch. Importing the package lets torchvision and timm be imported beside a CPU-only
torch as well.

`vision_attn.layers` needs torch alone: it is imported where the package's other dependencies are not installed.
"""

from typing import Any

from vision_attn import _torchvision, environment

_torchvision.install()
try:
    import lazy_loader
except ModuleNotFoundError:

    def __getattr__(name: str) -> Any:
        without = "Without it (pip install -e . in a checkout) there is vision_attn.layers alone"
        raise AttributeError(f"{name} of vision_attn needs the package lazy-loader. {without}.")

else:
    from vision_attn._homes import PACKAGES, homes

    _named, __dir__, _all = lazy_loader.attach_stub(__name__, __file__)
    __all__ = [name for name in _all if name not in PACKAGES]  # the stub names these, too

    def __getattr__(name: str) -> Any:
        if name not in _all and (places := homes(name)):  # an ImportError, as `from ... import` hides all others
            lines = " or ".join(f"from {__name__}.{place} import {name}" for place in places)
            raise ImportError(f"{name} is not at the top of {__name__}: {lines}.")
        return _named(name)


__version__ = environment.own_version()
