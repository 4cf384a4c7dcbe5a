"""Whether the arguments that a file names ask for about as much as it holds."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from kd_lightning.errors import UserError

NUMBERS = 4096  # up to which a whole number may be an argument of any network


def require_plausible(
    source: str, network_class: type, arguments: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    """UserError where the arguments ask for far more than the file holds, before any memory is
    taken for it."""
    held = sum(tensor.numel() for tensor in tensors.values())
    largest = max(held, NUMBERS)
    large = [key for key, value in arguments.items() if _capped(value, largest, 1) != value]
    if large and _sizes(network_class, arguments, largest):
        key = large[0]
        raise UserError(
            f"{source}: {key}={arguments[key]} does not fit its {held} weights; a number that "
            "sizes nothing may be given as text"
        )
    try:
        state = _built(network_class, arguments).state_dict()
    except Exception:  # anybody's class may need real memory; its own error comes later
        return
    asked = sum(tensor.numel() for tensor in state.values())
    if asked > 100 * held + 10_000_000:
        raise UserError(f"{source}: its arguments ask for {asked} weights, it holds {held}")


def _sizes(network_class: type, arguments: Mapping[str, Any], largest: int) -> bool:
    """Whether a number above `largest` says how much there is of something, as a seed does not: in
    its place 1 and 2 make other networks, or none."""
    try:
        one, two = (
            _parts(_built(network_class, {k: _capped(v, largest, n) for k, v in arguments.items()}))
            for n in (1, 2)
        )
    except Exception:  # of anybody's class
        return True
    return one != two


def _parts(network: nn.Module) -> list[tuple[str, object]]:
    """The layers, parameters and buffers, also those that no file holds, and their shapes."""
    layers = [(name, type(layer)) for name, layer in network.named_modules()]
    tensors = [*network.named_parameters(), *network.named_buffers()]
    return [*layers, *((name, tensor.shape) for name, tensor in tensors)]


def _capped(value: Any, largest: int, cap: int) -> Any:
    """`value`, or a list, with `cap` for each whole number above `largest`."""
    if isinstance(value, list | tuple):
        return type(value)(_capped(item, largest, cap) for item in value)
    return cap if isinstance(value, int) and value > largest else value


def _built(network_class: type, arguments: Mapping[str, Any]) -> nn.Module:
    """The network without memory for its tensors."""
    with torch.device("meta"), _WithoutGenerator():
        network: nn.Module = network_class(**arguments)
    return network


class _WithoutGenerator(TorchFunctionMode):
    """The meta device draws no numbers, and refuses the generator of another."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return func(*args, **{k: v for k, v in (kwargs or {}).items() if k != "generator"})
