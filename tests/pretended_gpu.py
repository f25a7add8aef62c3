"""A GPU that is only pretended: tensors say that they are on "cuda", are kept apart from those of the CPU, and compute.

What a real one refuses is refused here: operations on tensors of both devices, a generator of the other device, numbers
read through numpy, operations without a deterministic kernel where those are asked for. What a real one has to wait
for is written down. The arithmetic is that of the CPU, so results can be compared to the last bit. Autocast is off, as
PyTorch without CUDA switches it off.
"""

import contextlib

import torch
from torch.nn.utils import clip_grad
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map

aten = torch.ops.aten
GPU, CPU = torch.device("cuda:0"), torch.device("cpu")
BETWEEN = (aten.copy_.default, aten._to_copy.default)
INDEXED = (aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default)
UNREPEATABLE = {  # https://docs.pytorch.org/docs/stable/generated/torch.use_deterministic_algorithms.html
    *("avg_pool3d_backward", "_adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d_backward"),
    *("adaptive_max_pool2d_backward", "max_pool3d_with_indices_backward", "max_unpool2d", "max_unpool3d"),
    *("upsample_linear1d_backward", "upsample_bilinear2d_backward", "upsample_bicubic2d_backward"),
    *("_upsample_bilinear2d_aa_backward", "_upsample_bicubic2d_aa_backward", "upsample_trilinear3d_backward"),
    *("reflection_pad1d_backward", "reflection_pad2d_backward", "reflection_pad3d_backward"),
    *("replication_pad1d_backward", "replication_pad2d_backward", "replication_pad3d_backward"),
    *("nll_loss2d_forward", "nll_loss2d_backward", "_ctc_loss_backward", "grid_sampler_2d_backward", "put", "put_"),
    *("kthvalue", "median", "histc"),
}
FLOATING_ONLY = {"cumsum", "cumsum_"}
WAITED_FOR = {"_local_scalar_dense", "nonzero", "_unique2", "unique_dim", "masked_select", "bincount", "equal"}


def is_gpu(device):
    return device is not None and torch.device(device).type == "cuda"


class Kept(torch.Tensor):
    """A tensor on the pretended GPU; `kept` holds its numbers."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, kept):
        options = {"strides": kept.stride(), "storage_offset": kept.storage_offset(), "dtype": kept.dtype}
        return torch.Tensor._make_wrapper_subclass(cls, kept.shape, device="meta", **options)

    def __init__(self, kept):
        self.kept = kept

    def __repr__(self, *, tensor_contents=None):
        return f"Kept({self.kept})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is aten.where.self:  # the gradient of a clamp makes its 0 in PyTorch's own code, where nothing pretends
            args = tuple(torch.zeros_like(t, device=CPU) if t.is_meta and not isinstance(t, Kept) else t for t in args)
        _refuse(func, args, kwargs)
        given = {**kwargs, "device": CPU} if kwargs.get("device") is not None else kwargs
        if func is aten._fused_sdp_choice.default:
            return 0
        found = func(*tree_map(_kept, args), **tree_map(_kept, given))
        leaves = kwargs.get("device") is not None and torch.device(kwargs["device"]).type == "cpu"
        PretendedGpu.wait(func, args, leaves=leaves)
        if not leaves:
            found = tree_map(lambda t: Kept(t) if isinstance(t, torch.Tensor) else t, found)
        return return_and_correct_aliasing(func, args, kwargs, found)


def _kept(value):
    return value.kept if isinstance(value, Kept) else value


def _refuse(func, args, kwargs):
    """What CUDA refuses."""
    name = func._schema.name.removeprefix("aten::")
    if torch.are_deterministic_algorithms_enabled():
        floating = isinstance(args[0], torch.Tensor) and args[0].is_floating_point()
        counted = name == "bincount" and len(args) > 1 and args[1] is not None
        if name in UNREPEATABLE or (name in FLOATING_ONLY and floating) or counted:
            raise RuntimeError(f"{name} does not have a deterministic implementation on CUDA")
    if func in BETWEEN:
        return
    asked = (args[0], *args[2:]) if func in INDEXED else (*args, *kwargs.values())
    tensors = [t for t in tree_flatten(asked)[0] if isinstance(t, torch.Tensor)]
    strange = [t for t in tensors if not isinstance(t, Kept) and (t.ndim > 0 or t.is_meta)]
    written = func._schema.is_mutable and isinstance(args[0], torch.Tensor) and not isinstance(args[0], Kept)
    if strange or (written and any(isinstance(t, Kept) for t in tensors)):
        raise RuntimeError(f"{name}: expected all tensors to be on the same device, but found cuda:0 and cpu")


class PretendedGpu(TorchFunctionMode):
    """While it is on, "cuda" is a device that pretends; `waits` names what a real GPU would have been waited for."""

    current = None

    def __init__(self):
        super().__init__()
        self.waits = []

    def __enter__(self):
        PretendedGpu.current = self
        self.replaced = torch.Generator, torch.inference_mode, clip_grad._group_tensors_by_device_and_dtype
        torch.Generator = Generator
        torch.inference_mode = lambda mode=True: torch.no_grad() if mode else contextlib.nullcontext()
        clip_grad._group_tensors_by_device_and_dtype = self._grouped
        return super().__enter__()

    def __exit__(self, *error):
        PretendedGpu.current = None
        torch.Generator, torch.inference_mode, clip_grad._group_tensors_by_device_and_dtype = self.replaced
        return super().__exit__(*error)

    def _grouped(self, tensors):
        found = self.replaced[2](tensors)
        return {(GPU if device.type == "meta" else device, dtype): group for (device, dtype), group in found.items()}

    @classmethod
    def wait(cls, func, args, *, leaves):
        name = func._schema.name.removeprefix("aten::")
        masked = func in INDEXED and any(t is not None and t.dtype == torch.bool for t in args[1])
        masked = masked and not (len(args) > 2 and args[2].numel() == 1)  # a fill, which counts nothing
        arrives = func is aten.copy_.default and not all(isinstance(t, Kept) for t in args[:2])
        if cls.current is not None and (leaves or masked or arrives or name in WAITED_FOR):
            cls.current.waits.append(name)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs, name = dict(kwargs or {}), getattr(func, "__name__", "")
        if name == "__get__" and isinstance(args[0], Kept):
            owner = getattr(func.__self__, "__name__", "")
            if owner in ("device", "is_cuda", "is_meta", "is_cpu"):
                return {"device": GPU, "is_cuda": True, "is_meta": False, "is_cpu": False}[owner]
        if name in ("untyped_storage", "data_ptr") and isinstance(args[0], Kept):
            return getattr(args[0].kept, name)()
        if name == "numpy" and isinstance(args[0], Kept):
            raise TypeError("can't convert cuda:0 device type tensor to numpy.")
        if name == "tolist" and isinstance(args[0], Kept):
            self.waits.append(name)
            return args[0].kept.tolist()
        if name == "one_hot" and isinstance(args[0], Kept):  # of tensors without storage PyTorch makes it otherwise
            return Kept(func(args[0].kept, *args[1:], **kwargs))
        if name == "where" and any(isinstance(part, Kept) for part in args):
            args = _numbered(args)
        if name == "__setitem__" and isinstance(args[0], Kept) and not isinstance(args[2], torch.Tensor):
            args = (*args[:2], torch.scalar_tensor(args[2], dtype=args[0].dtype))
        if name in ("to", "cuda"):
            return self._moved(func, args, kwargs)
        to_gpu = is_gpu(kwargs.get("device"))
        _same_generator(args, kwargs, to_gpu=to_gpu)
        if not to_gpu:
            return func(*args, **kwargs)
        found = func(*tree_map(_kept, args), **{**kwargs, "device": CPU})
        self.waits += ["tensor"] if func in (torch.tensor, torch.as_tensor) else []
        return _wrapped(found)

    def _moved(self, func, args, kwargs):
        tensor, *rest = args
        copied = kwargs.pop("copy", False)
        if func.__name__ == "cuda":
            device, dtype, non_blocking, layout = GPU, None, False, None
        elif rest and isinstance(rest[0], torch.Tensor):
            place = GPU if isinstance(rest[0], Kept) else rest[0].device
            device, dtype, non_blocking, layout = place, rest[0].dtype, False, None
        else:
            device, dtype, non_blocking, layout = torch._C._nn._parse_to(*rest, **kwargs)
        given = {} if layout is None or isinstance(tensor, Kept) else {"memory_format": layout}
        if dtype is not None or given or copied:
            tensor = torch.Tensor.to(tensor, dtype=dtype or tensor.dtype, copy=copied, **given)
        if device is None or is_gpu(device) == isinstance(tensor, Kept):
            return tensor
        if is_gpu(device):
            self.waits += [] if non_blocking else ["to"]
            return _wrapped(tensor)
        return (
            torch.empty_like(tensor.kept, device=device) if device.type == "meta" else torch.Tensor.to(tensor, device)
        )


def _numbered(args):
    """The arguments of `where` with numbers as tensors of the CPU: PyTorch would put them where nothing pretends."""
    like = next((part for part in args[1:] if isinstance(part, torch.Tensor)), torch.empty(0))
    return [part if isinstance(part, torch.Tensor) else torch.scalar_tensor(part, dtype=like.dtype) for part in args]


class _Moved(torch.autograd.Function):
    @staticmethod
    def forward(ctx, tensor):
        return Kept(tensor.detach().clone())

    @staticmethod
    def backward(ctx, grad):
        return grad.kept


def _wrapped(tensor):
    if isinstance(tensor, Kept) or not isinstance(tensor, torch.Tensor):
        return tensor
    if tensor.requires_grad and tensor.is_leaf and not torch.is_grad_enabled():
        return Kept(tensor.detach().clone()).requires_grad_()
    return _Moved.apply(tensor) if tensor.requires_grad else Kept(tensor)


class Generator(torch.Generator):
    """A generator that says on which device it is."""

    def __new__(cls, device="cpu"):
        own = super().__new__(cls)
        own.place = GPU if is_gpu(device) else CPU
        return own

    @property
    def device(self):
        return self.place


def _same_generator(args, kwargs, *, to_gpu):
    generator = kwargs.get("generator")
    if generator is None:
        return
    first = args[0] if args else None
    place = to_gpu or isinstance(first, Kept)
    if place != is_gpu(generator.device):
        raise RuntimeError(f"expected a generator of the tensor's device, but found {generator.device}")


@contextlib.contextmanager
def deterministic_algorithms():
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
