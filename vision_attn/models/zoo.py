"""Any model of timm, by name."""

import difflib
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
        reserved = {"pretrained", "img_size", "in_chans", "num_classes"}
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
        try:
            return timm.create_model(self.name, pretrained=False, in_chans=in_chans, num_classes=num_classes, **options)
        except Exception as error:  # of timm's models, whatever it is
            raise InputError(
                f"options of Timm must be ones that {self.name} takes for {in_chans} x {image_size} x {image_size} "
                f"images. Got {dict(self.options)!r} instead: {error}"
            ) from error

    def unfit(self, given: str, *, wanted: tuple[int, ...], image_size: int, in_chans: int, **_: int) -> InputError:
        """The error that says what its module gives for two images instead of logits of the wanted shape."""
        images = f"{in_chans} x {image_size} x {image_size} images"
        allowed = f"those of a model that gives logits of the shape {wanted} for two {images}"
        what = f"{self.name!r} with {dict(self.options)!r}" if self.options else repr(self.name)
        return InputError(f"name and options of Timm must be {allowed}. Got {what} instead: {given}")
