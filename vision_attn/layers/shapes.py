"""Array types of the signatures, such as Float[Tensor, "B N C"]: jaxtyping's where it is installed, else plain tensors.

The tests check every call against them (jaxtyping's import hook and beartype); elsewhere they cost nothing.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
else:
    try:
        from jaxtyping import Bool, Float
    except ImportError:

        class Float:
            """Stands for the tensor type in the brackets."""

            def __class_getitem__(cls, item: tuple[Any, str]) -> Any:
                return item[0]

        Bool = Float

__all__ = ["Bool", "Float"]
