"""lm-eval's view of a model that was built already: the same numbers as lm-eval's own HFLM, in less time.

A context is computed once for all that may follow it, running text is batched by length over all texts, and each row
of a generation ends at its own stop string.
"""

from collections.abc import Sequence
from functools import partial

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase, StoppingCriteria, StoppingCriteriaList

from smf.errors import ConfigError
from smf.evaluation.likelihoods import LogLikelihood
from smf.evaluation.shared_context import Item, continuation_likelihoods
from smf.resume import Tape
from smf.streams.batches import starts_with_bos

_LOOK_BACK = 2
"""Tokens looked at beyond those of a stop string, because text can be cut into tokens in several ways; as HFLM's."""


class LanguageModel(HFLM):
    """A model, fed with token ids like those that it was trained on.

    Args:
        model: In memory already; it is put in evaluation mode.
        tokenizer: The one that it was trained with.
        batch_size: Sequences a forward pass.
        max_length: Longest input plus output, in tokens. None: the model's own.
        window: Tokens of running text that are predicted in one pass, at most ``max_length``. None: as many.
        max_new_tokens: Longest answer that will be asked for; it must leave room for a prompt.
        tape: Plays what an earlier process computed of the same requests.

    Raises:
        ConfigError: Answers could be longer than what the model reads.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        batch_size: int,
        max_length: int | None = None,
        window: int | None = None,
        max_new_tokens: int = 0,
        tape: Tape | None = None,
    ):
        super().__init__(
            pretrained=model,
            backend="causal",
            tokenizer=tokenizer,
            batch_size=batch_size,
            max_length=max_length,
            add_bos_token=starts_with_bos(tokenizer),  # as in training
        )
        if max_new_tokens >= self.max_length:
            raise ConfigError(
                f"evaluation.max_new_tokens is {max_new_tokens}, but the model reads {self.max_length} tokens "
                "in all; lower it"
            )
        self.window = min(window or self.max_length, self.max_length)
        self._encoded: dict[str, list[int]] = {}
        self._tape = tape or Tape()

    def tok_encode(self, string: str, *args, **options) -> list[int]:
        """Token ids of a text, from what was encoded in one go where the text was among it."""
        if not args and not options and string in self._encoded:
            return self._encoded[string]
        return super().tok_encode(string, *args, **options)

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """The log-likelihood of each continuation and whether it is the greedy one."""
        contexts = {context for context, _ in (request.args for request in requests) if context}
        wholes = {context + continuation for context, continuation in (request.args for request in requests)}
        self._encode_at_once([*contexts, *wholes, *(context.rstrip() for context in contexts)])
        found = super().loglikelihood(requests, disable_tqdm=disable_tqdm)
        self._encoded = {}
        return found

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = True) -> list[float]:
        """The log-likelihood of each text.

        The first window predicts ``window`` tokens after the token that starts a text. Each further window predicts the
        next ``window`` tokens after one token of context, and the last one only those that are left, after as much
        context as the window holds. No token is predicted twice. So does HFLM without a token of its own at the start.
        """
        texts = [request.args[0] for request in requests]
        # without the token that starts a text: it is the first window's context, and is not predicted itself
        encoded = self.tokenizer(texts, add_special_tokens=False)["input_ids"]
        windows = [
            [
                make_disjoint_window(pair)
                for pair in get_rolling_token_windows(ids, self.prefix_token_id, self.window, 1)
            ]
            for ids in encoded
        ]
        pairs = [(None, *window) for of_text in windows for window in of_text]
        found = iter(self._loglikelihood_tokens(pairs, disable_tqdm=disable_tqdm))
        totals = []
        for of_text in windows:
            total = sum(next(found)[0] for _ in of_text)
            totals.append(LogLikelihood(total, sum(len(predicted) for _, predicted in of_text)))
        return totals

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        """What the model says to each prompt, up to the task's stop strings."""
        return super().generate_until(requests, disable_tqdm=disable_tqdm)

    def _encode_at_once(self, texts: Sequence[str]) -> None:
        """Encode many texts in one call, which is several times faster than one by one."""
        start = self.tokenizer.decode(self.prefix_token_id)
        # HFLM has a rule for texts that name their start token themselves
        texts = [text for text in dict.fromkeys(texts) if text and not text.startswith(start)]
        if texts:
            ids = self.tokenizer(texts, add_special_tokens=bool(self.add_bos_token))["input_ids"]
            self._encoded = dict(zip(texts, ids, strict=True))

    def _loglikelihood_tokens(self, requests, disable_tqdm: bool = True, override_bs: int | None = None):
        """As lm-eval's, to rounding; what follows one context is scored with that context computed once.

        Raises:
            ConfigError: A continuation is longer than what the model reads.
        """
        by_context: dict[tuple[int, ...], list[int]] = {}
        for number, (_, context, continuation) in enumerate(requests):
            if len(continuation) > self.max_length:
                raise ConfigError(
                    f"a continuation of {len(continuation)} tokens is to be scored, but the model reads "
                    f"{self.max_length}; raise base.max_length"
                )
            # What is too long loses its beginning. The last token is predicted, not read.
            kept = context[-(self.max_length + 1 - len(continuation)) :]
            by_context.setdefault(tuple(kept), []).append(number)
        items = [Item(context, [requests[number][2] for number in group]) for context, group in by_context.items()]
        found = continuation_likelihoods(self.model, items, rows_per_pass=self.batch_size, tape=self._tape)
        results: dict[int, tuple[float, bool]] = {}
        for group, likelihoods in zip(by_context.values(), found, strict=True):
            results.update(zip(group, likelihoods, strict=True))
        return [
            (LogLikelihood(results[number][0], len(requests[number][2])), results[number][1])
            for number in range(len(requests))
        ]

    def _model_generate(self, context: Tensor, max_length: int, stop: list[str], **options: object) -> Tensor:
        # A generation config may name no end of text. HFLM would then let the rows run on, and would decode what
        # follows the end of text as part of the answer, because it leaves special tokens out of the decoded text.
        ends = self.model.generation_config.eos_token_id
        ends = {self.eot_token_id, *(ends if isinstance(ends, list) else [] if ends is None else [ends])}
        # HFLM goes on until all rows hold the same stop string or all have ended, and rows of both kinds until the end.
        stop_at = _StopStrings(self.tokenizer, stop, context.shape[1])
        if options.get("do_sample") in (None, False) and not options.get("temperature"):
            options = {key: value for key, value in options.items() if key != "temperature"} | {"do_sample": False}
        generate = partial(
            self.model.generate,
            input_ids=context,
            max_length=max_length,
            stopping_criteria=StoppingCriteriaList([stop_at]),
            pad_token_id=self.tokenizer.pad_token_id,
            use_cache=True,
            eos_token_id=sorted(ends),
            **options,
        )
        return torch.tensor(self._tape.next(lambda: generate().tolist()), device=context.device)


class _StopStrings(StoppingCriteria):
    """Ends each row at the first stop string that it holds."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, strings: Sequence[str], start: int):
        self._tokenizer, self._strings, self._start = tokenizer, [string for string in strings if string], start
        longest = (len(tokenizer.encode(string, add_special_tokens=False)) for string in self._strings)
        self._width = max(longest, default=0) + _LOOK_BACK
        self._ended: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: object) -> Tensor:
        """Whether each row has ended; (rows,), bool."""
        if self._ended is None:
            self._ended = torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
        going = (~self._ended).nonzero()[:, 0]
        latest = input_ids[going, max(self._start, input_ids.shape[1] - self._width) :]
        texts = self._tokenizer.batch_decode(latest)
        ended = [any(string in text for string in self._strings) for text in texts]
        self._ended[going] = torch.tensor(ended, dtype=torch.bool, device=input_ids.device)
        return self._ended
