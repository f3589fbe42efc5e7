"""Computing what lies below the lowest memory layer once a batch.

Sparse memory finetuning changes slots only. Over the steps on one batch all that the lowest layer's values do not reach
stays the same: the blocks underneath, the attention and the feed-forward network beside that layer, and where it reads.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from smf.errors import TrainingError
from smf.models.memory_model import MemoryForCausalLM, decoder_blocks


class FrozenPrefix:
    """Remembers the frozen prefix's outputs for one batch.

    Args:
        model: In evaluation mode; nothing but values may train.
    """

    def __init__(self, model: MemoryForCausalLM):
        self._model = model
        blocks = decoder_blocks(model.language_model)
        lowest = min(model.memory_layers())
        block = blocks[lowest]
        frozen = [*blocks[:lowest], getattr(block, "self_attn", None), block.mlp.feed_forward]
        self._calls = [(module, "forward") for module in frozen if module is not None]
        self._calls.append((block.mlp.memory, "address"))
        self._outputs: dict[int, object] = {}

    @contextmanager
    def reused(self) -> Iterator[None]:
        """Inside, the first forward pass fills the memory, later ones read it; all must get the same batch.

        Raises:
            TrainingError: The model is in training mode, where dropout makes passes differ.
        """
        if self._model.training:
            raise TrainingError("a frozen prefix can be reused in evaluation mode only; call model.eval() first")
        # An attribute of the instance hides the method of its class; where one is there already, it comes back.
        hidden = [vars(module).get(name) for module, name in self._calls]
        try:
            for number, (module, name) in enumerate(self._calls):
                setattr(module, name, self._remembering(number, getattr(module, name)))
            yield
        finally:
            for (module, name), before in zip(self._calls, hidden, strict=True):
                delattr(module, name)
                if before is not None:
                    setattr(module, name, before)

    def _remembering(self, number: int, compute: Callable) -> Callable:
        def call(*inputs, **options):
            if number not in self._outputs:
                self._outputs[number] = compute(*inputs, **options)
            return self._outputs[number]

        return call
