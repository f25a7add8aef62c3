"""Any model of timm, by name."""

import difflib
import inspect
from typing import Any

from torch import nn

from vision_attn.models.base import Model
from vision_attn.spec import InputError, spec


@spec
class Timm(Model):
    """A model of timm, freshly initialised. `options` are pairs such as `(("patch_size", 4),)` for its constructor."""

    name: str
    options: tuple[tuple[str, str | int | float | bool], ...] = ()

    def check(self) -> None:
        allowed = "one without a tag behind a dot, which names pretrained weights: models are freshly initialised"
        self.require("name", "." not in self.name, allowed)
        reserved = {"pretrained", "pretrained_cfg", "img_size", "in_chans", "num_classes"}
        given = [key for key, _ in self.options]
        self.require("options", not reserved & set(given), f"other than {', '.join(sorted(reserved))}")
        self.require("options", len(set(given)) == len(given), "different from each other")

    def build(self, *, image_size: int, in_chans: int, num_classes: int) -> nn.Module:
        import timm

        if not timm.is_model(self.name):
            close = difflib.get_close_matches(self.name, timm.list_models(), n=3)
            near = f", such as {', '.join(map(repr, close))}" if close else ""
            raise InputError(f"name of Timm must be the name of a timm model{near}. Got {self.name!r} instead.")
        options: dict[str, Any] = dict(self.options)
        configuration = timm.get_pretrained_cfg(self.name)
        if configuration is not None and configuration.fixed_input_size:
            options["img_size"] = image_size
        shape: dict[str, Any] = {"in_chans": in_chans, "num_classes": num_classes}
        try:
            module = timm.create_model(self.name, pretrained=False, **shape, **options)
        except Exception as error:  # of timm's models, whatever it is
            raise InputError(
                f"options of Timm must be ones that {self.name} takes for {in_chans} x {image_size} x {image_size} "
                f"images. Got {dict(self.options)!r} instead: {error}"
            ) from error
        for part in module.modules():
            if _cuts(part, in_chans):
                own_size = getattr(part, "img_size", None) if "img_size" in options else None
                self._require_whole(module, patch=part.patch_size, size=own_size or image_size)
        return module

    def _require_whole(self, module: nn.Module, *, patch: Any, size: Any) -> None:
        """Raise `InputError` where patches leave out a border of the images."""
        from timm.layers import to_2tuple

        pairs = zip(to_2tuple(size), to_2tuple(patch), strict=True)
        side, step = next(((side, step) for side, step in pairs if side % step), (0, 1))
        if not side:
            return
        taken = inspect.signature(type(module)).parameters.get("patch_size")
        hint = ""
        if taken is not None and isinstance(taken.default, int):
            most = max(1, min(step, side // 4))
            fitting = next(one for one in range(most, 0, -1) if side % one == 0)
            hint = f', as options=(("patch_size", {fitting}),) does'
        raise InputError(f"patch_size of {self.name} must divide the image size {side}{hint}. Got {step} instead.")

    def unfit(self, given: str, *, wanted: tuple[int, ...], image_size: int, in_chans: int, **_: int) -> InputError:
        """The error that says what its module gives for two images instead of logits of the wanted shape."""
        images = f"{in_chans} x {image_size} x {image_size} images"
        allowed = f"those of a model that gives logits of the shape {wanted} for two {images}"
        what = f"{self.name!r} with {dict(self.options)!r}" if self.options else repr(self.name)
        return InputError(f"name and options of Timm must be {allowed}. Got {what} instead: {given}")


def _cuts(part: Any, in_chans: int) -> bool:
    """Whether a part of a model cuts images into patches that neither overlap nor are padded."""
    first = getattr(part, "proj", None)
    if not hasattr(part, "patch_size") or getattr(part, "dynamic_img_pad", False):
        return False
    if not isinstance(first, nn.Conv2d) or first.in_channels != in_chans:
        return False
    return first.kernel_size == first.stride or isinstance(getattr(part, "unfold", None), nn.Unfold)
