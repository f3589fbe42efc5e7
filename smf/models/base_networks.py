"""Let a memory model act as its base for a while, as the teacher and the reference of healing."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn
from transformers import PreTrainedModel

from smf.models.memory_model import MemoryForCausalLM, chosen_blocks, decoder_blocks


def feed_forward_networks(base: PreTrainedModel, layers: Collection[int]) -> dict[int, nn.Module]:
    """The feed-forward networks of some blocks, by block; take them before a retrofit, which may drop them.

    Raises:
        CheckpointError: The architecture is not supported, or a chosen block does not exist.
    """
    return {number: block.mlp for number, block in chosen_blocks(base, layers).items()}


@contextmanager
def acting_as_base(
    model: MemoryForCausalLM, networks: Mapping[int, nn.Module]
) -> Iterator[dict[int, tuple[Tensor, Tensor]]]:
    """Inside the ``with`` block the base's networks run and no memory is read, so all hidden states are the base's.

    Args:
        model: A retrofitted model, in either mode.
        networks: What :func:`feed_forward_networks` took from its base.

    Yields:
        A dictionary that each forward pass fills: block number to the network's input and output, both (B, T, D).
    """
    seen: dict[int, tuple[Tensor, Tensor]] = {}

    def instead(number: int, network: nn.Module) -> Callable[[Tensor], Tensor]:
        def forward(hidden_BTD: Tensor) -> Tensor:
            seen[number] = hidden_BTD, network(hidden_BTD)
            return seen[number][1]

        return forward

    blocks = decoder_blocks(model.language_model)
    for number, network in networks.items():
        blocks[number].mlp.forward = instead(number, network)  # shadows the class's method
    try:
        yield seen
    finally:
        for number in networks:
            del blocks[number].mlp.forward
