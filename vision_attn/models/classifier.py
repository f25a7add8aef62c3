"""Classifier: what the modules of this package share. timm's method names; saving and loading as on Hugging Face."""

from pathlib import Path
from typing import Any, Self

import safetensors.torch
from huggingface_hub import PyTorchModelHubMixin, constants, hf_hub_download
from torch import Tensor, nn

from vision_attn.layers.beginning import Beginning
from vision_attn.layers.places import grid_known
from vision_attn.models.base import Model
from vision_attn.models.input_size import a_size, allow_any_size
from vision_attn.spec import InputError, from_json, to_json


class Classifier(Beginning, PyTorchModelHubMixin, library_name="vision-attn", tags=["image-classification"]):
    """An image classifier built from a spec: (B, in_chans, H, W) to logits (B, num_classes).

    `save_pretrained(folder)` writes the spec as config.json and the weights as model.safetensors;
    `from_pretrained(folder or repository)` of any classifier builds what the config says, in eval mode. Pickled
    weights are never read. `reset_parameters` makes it as new.
    """

    num_features: int

    def __init__(self, spec: Model, *, image_size: int | tuple[int, int], in_chans: int, num_classes: int) -> None:
        super().__init__()
        self.spec, self.image_size, self.in_chans, self.num_classes = spec, image_size, in_chans, num_classes
        self.default_cfg: dict[str, Any] = {}

    def forward_features(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def make_head(self, num_classes: int) -> nn.Module:
        """A linear map to that many logits; with 0 nothing, the features come out."""
        return nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()

    @property
    def head_hidden_size(self) -> int:
        """The width of what the head reads: `num_features`, as timm calls it where there are layers between."""
        return self.num_features

    def get_classifier(self) -> nn.Module:
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A fresh head for that many classes, of the type and device of the rest; with 0 the features come out.

        Raises `InputError` where another `global_pool` is asked for, as timm allows: here the spec says how tokens are
        pooled, `forward_features` gives them all.
        """
        if global_pool is not None:
            allowed = "None, as the spec of the model says how tokens are pooled (forward_features gives them all)"
            raise InputError(f"global_pool of reset_classifier must be {allowed}. Got {global_pool!r} instead.")
        like = next(self.parameters())
        self.num_classes = num_classes
        self.head: nn.Module = self.make_head(num_classes).to(device=like.device, dtype=like.dtype)

    def _built_from(self) -> dict[str, Any]:
        """What the module is built from, as plain JSON."""
        shape = {"image_size": self.image_size, "in_chans": self.in_chans, "num_classes": self.num_classes}
        dynamic = {"dynamic_img_size": True} if getattr(self, "dynamic_img_size", False) else {}
        return {"model": to_json(self.spec), **shape, **dynamic}

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """Write config.json and model.safetensors into a folder; `options` are those of huggingface_hub."""
        return super().save_pretrained(save_directory, **{**options, "config": self._built_from()})

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        config: dict[str, Any] | None = None,
        map_location: str = "cpu",
        strict: bool = True,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
        **unused: Any,
    ) -> Self:
        """Called by `from_pretrained` with the config that it has read."""
        if not config or "model" not in config:
            raise InputError(
                f"pretrained model must be one that save_pretrained of vision-attn wrote. Got {model_id!r}."
            )
        shape = {name: config[name] for name in ("image_size", "in_chans", "num_classes")}
        shape["image_size"] = a_size(shape["image_size"], "image_size of the pretrained model")
        module = from_json(config["model"], Model).build(**shape)
        if not isinstance(module, cls):
            allowed = f"a {cls.__name__}"
            raise InputError(
                f"pretrained model must be {allowed}. Got a {type(module).__name__} in {model_id!r} instead."
            )
        if config.get("dynamic_img_size"):
            allow_any_size(module)
        path = Path(model_id) / constants.SAFETENSORS_SINGLE_FILE
        if not path.is_file():
            path = Path(
                hf_hub_download(
                    model_id,
                    constants.SAFETENSORS_SINGLE_FILE,
                    revision=revision,
                    cache_dir=cache_dir,
                    force_download=force_download,
                    local_files_only=local_files_only,
                    token=token,
                )
            )
        with grid_known(module):
            safetensors.torch.load_model(module, path, strict=strict, device=map_location)
        return module.to(map_location).eval()
