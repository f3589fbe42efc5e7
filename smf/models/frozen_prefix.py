"""Compute the frozen part below the lowest memory layer once per batch.

Sparse memory finetuning changes slots only. Over the steps on one batch, everything that does not depend on the values
stays the same: embeddings, masks and positions, the blocks below the lowest memory layer, the attention and the
feed-forward network beside it, and the slots that it reads.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from transformers import Cache
from transformers.modeling_outputs import BaseModelOutputWithPast

from smf.errors import TrainingError
from smf.models.memory_model import MemoryForCausalLM, decoder_blocks


class FrozenPrefix:
    """Caches the frozen prefix's outputs for one batch.

    With a cache of keys and values, a pass that reuses the stored outputs adds nothing to the cache's layers up to the
    lowest block with memory, and needs nothing from them.

    Args:
        model: In evaluation mode; nothing but values may train.
    """

    def __init__(self, model: MemoryForCausalLM):
        self._model = model
        self._decoder = model.language_model.get_decoder()
        self._blocks = decoder_blocks(model.language_model)
        self._lowest = min(model.memory_layers())
        block = self._blocks[self._lowest]
        frozen = [*self._blocks[: self._lowest], getattr(block, "self_attn", None), block.mlp.feed_forward]
        self._calls = [(module, "forward") for module in frozen if module is not None]
        self._calls.append((block.mlp.memory, "address"))
        self._outputs: dict[int, object] = {}
        # What a full pass gives to each block: the hidden states that enter the lowest, and masks and positions.
        self._hidden_BTD: Tensor | None = None
        self._options: dict[int, Mapping] = {}

    @contextmanager
    def reused(self) -> Iterator[None]:
        """Inside the ``with`` block the first pass stores outputs and later ones reuse them, all on the same batch.

        Raises:
            TrainingError: The model is in training mode, where dropout makes passes differ.
        """
        if self._model.training:
            raise TrainingError("a frozen prefix can be reused in evaluation mode only; call model.eval() first")
        replaced = [
            (module, name, self._remembering(number, getattr(module, name)))
            for number, (module, name) in enumerate(self._calls)
        ]
        hooks = []
        if len(self._options) == len(self._blocks) - self._lowest:
            replaced.append((self._decoder, "forward", self._upper_blocks))
        else:
            hooks = [
                self._blocks[number].register_forward_pre_hook(self._recorder(number), with_kwargs=True)
                for number in range(self._lowest, len(self._blocks))
            ]
        # An instance attribute shadows the class's method; one that was there before is restored.
        hidden = [vars(module).get(name) for module, name, _ in replaced]
        try:
            for module, name, function in replaced:
                setattr(module, name, function)
            yield
        finally:
            for (module, name, _), before in zip(replaced, hidden, strict=True):
                delattr(module, name)
                if before is not None:
                    setattr(module, name, before)
            for hook in hooks:
                hook.remove()

    def _remembering(self, number: int, compute: Callable) -> Callable:
        def call(*inputs: Any, **options: Any) -> object:
            if number not in self._outputs:
                self._outputs[number] = compute(*inputs, **options)
            return self._outputs[number]

        return call

    def _recorder(self, number: int) -> Callable:
        def record(module: object, inputs: Sequence[Tensor], options: Mapping) -> None:
            if number == self._lowest:
                self._hidden_BTD = inputs[0]
            self._options[number] = options

        return record

    def _upper_blocks(self, *_: Any, past_key_values: Cache | None = None, **__: Any) -> BaseModelOutputWithPast:
        """The decoder's pass from the lowest memory layer on, with this pass's cache in place of the first one's.

        Skipping the rest saves more than its work: transformers inspects the values of the mask, and on an accelerator
        the host would wait for them in each step.
        """
        hidden_BTD = self._hidden_BTD
        for number in range(self._lowest, len(self._decoder.layers)):
            options = self._options[number]
            if "past_key_values" in options:
                options = {**options, "past_key_values": past_key_values}
            hidden_BTD = self._blocks[number](hidden_BTD, **options)
        return BaseModelOutputWithPast(last_hidden_state=self._decoder.norm(hidden_BTD))
