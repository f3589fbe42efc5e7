"""An lm-eval wrapper of a model in memory: the same numbers as lm-eval's own HFLM, in less time.

A context is computed once for all its continuations, and so is a prefix that prompts share. Running text is batched by
length across texts. Each row of a generation ends at its own stop string.
"""

from collections.abc import Sequence

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase, StoppingCriteria, StoppingCriteriaList

from smf.errors import ConfigError, DataError
from smf.evaluation.likelihoods import LogLikelihood
from smf.evaluation.shared_context import Item, continuation_likelihoods
from smf.evaluation.shared_prefix import with_shared_prefix
from smf.files.resume import Tape
from smf.streams.asking import PLAIN, Asking
from smf.streams.tokens import body_ids, split_ids, start_of_text, token_ids

_LOOK_BACK = 2
"""Tokens to decode beyond those of a stop string, because a text has several tokenizations; the same as in HFLM."""

_Request = tuple[tuple[str, str] | None, list[int], list[int]]
"""A context and its continuation as texts, if they are texts, and as token ids."""


class LanguageModel(HFLM):
    """A model for lm-eval, fed with texts tokenized as in training.

    Args:
        model: The model, already in memory; it is put in evaluation mode.
        tokenizer: The one that it was trained with.
        batch_size: Sequences per forward pass.
        max_length: Longest input plus output, in tokens. None: the model's own.
        window: Tokens of running text that are predicted in one pass, at most ``max_length``. None: ``max_length``.
        max_new_tokens: Longest answer to generate; it must leave room for a prompt.
        tape: Replays what an earlier process computed for the same requests.
        asking: The format of the questions' prompts.

    Raises:
        ConfigError: An answer could leave no room for a prompt within the model's maximum length.
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
        asking: Asking = PLAIN,
    ):
        super().__init__(
            pretrained=model,
            backend="causal",
            tokenizer=tokenizer,
            batch_size=batch_size,
            max_length=max_length,
        )
        if max_new_tokens >= self.max_length:
            raise ConfigError(
                f"evaluation.max_new_tokens is {max_new_tokens}, but the model reads at most {self.max_length} tokens; "
                "lower it"
            )
        self.prepare(window, tape, asking)

    def prepare(self, window: int | None = None, tape: Tape | None = None, asking: Asking = PLAIN) -> None:
        """Set the attributes that HFLM does not have; arguments as for the class."""
        self.window = min(window or self.max_length, self.max_length)
        self._tape, self._asking = tape or Tape(), asking
        self._chats = False
        self._encoded: dict[str, list[int]] = {}

    @property
    def rows_per_pass(self) -> int:
        """Sequences per forward pass."""
        return self.batch_size

    @property
    def start(self) -> list[int]:
        """The tokens that stand before each text."""
        return [] if self.add_bos_token is False else start_of_text(self.tokenizer)

    def tok_encode(
        self,
        string: str,
        add_special_tokens: bool | None = None,
        left_truncate_len: int | None = None,
        **_: object,
    ) -> list[int]:
        """A text's token ids (:mod:`smf.streams.tokens`); ``add_special_tokens=False`` omits its start tokens."""
        if add_special_tokens is False:
            ids = body_ids(self.tokenizer, [string], chats=self._chats)[0]
        else:
            ids = self._ids_of([string])[0]
        return self._cut(ids, left_truncate_len or len(ids))

    def tok_batch_encode(
        self,
        strings: Sequence[str],
        padding_side: str = "left",
        left_truncate_len: int | None = None,
        truncation: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Token ids of several texts and their attention mask, both (texts, longest text)."""
        rows = [ids or self._context_of_nothing() for ids in self._ids_of(strings)]
        rows = [self._cut(ids, left_truncate_len or len(ids)) for ids in rows]
        width = max(map(len, rows))
        ids, mask = [], []
        for row in rows:
            padding = [self.tokenizer.pad_token_id] * (width - len(row))
            left = padding_side == "left"
            ids.append(padding + row if left else row + padding)
            mask.append([0] * len(padding) + [1] * len(row) if left else [1] * len(row) + [0] * len(padding))
        return torch.tensor(ids), torch.tensor(mask)

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """A chat as text. From this call on, special tokens in texts are the template's and are encoded as such."""
        self._chats, self._encoded = True, {}
        return super().apply_chat_template(chat_history, add_generation_prompt)

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """The log-likelihood of each continuation and whether it is the greedy one.

        Raises:
            DataError: A continuation has no token.
        """
        pairs = [request.args for request in requests]
        found = split_ids(self.tokenizer, pairs, chats=self._chats)
        start, alone = self.start, self._context_of_nothing()
        split = []
        for pair, (context, continuation) in zip(pairs, found, strict=True):
            if not continuation:
                raise DataError(f"nothing is left to score of {pair[1]!r} after {pair[0][-60:]!r}: it has no token")
            split.append((pair, start + context if context else alone, continuation))
        return self._loglikelihood_tokens(split, disable_tqdm=disable_tqdm)

    def windows(self, texts: Sequence[str]) -> list[list[tuple[list[int], list[int]]]]:
        """Split each text into windows: the ids of a context, and the ids that are predicted after it.

        The first window predicts ``window`` tokens after the token that starts a text. Each further window predicts the
        next ``window`` tokens after one token of context, and the last one only those that are left, after as much
        context as the window holds. No token is predicted twice. HFLM does the same if it adds no start token itself.
        """
        alone, windows = self._context_of_nothing(), []
        # without a text's start tokens: they are the first window's context and are not predicted themselves
        for ids in body_ids(self.tokenizer, texts, chats=self._chats):
            of_text = [*map(make_disjoint_window, get_rolling_token_windows(ids, alone[-1], self.window, 1))]
            windows.append([(alone, predicted) for _, predicted in of_text[:1]] + of_text[1:])
        return windows

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = True) -> list[float]:
        """The log-likelihood of each text, over its :meth:`windows`."""
        windows = self.windows([request.args[0] for request in requests])
        pairs = [(None, *window) for of_text in windows for window in of_text]
        found = iter(self._loglikelihood_tokens(pairs, disable_tqdm=disable_tqdm))
        totals: list[float] = []
        for of_text in windows:
            total = sum(next(found)[0] for _ in of_text)
            totals.append(LogLikelihood(total, sum(len(predicted) for _, predicted in of_text)))
        return totals

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        """Generate the model's answer to each prompt, up to the task's stop strings."""
        prompts = list(dict.fromkeys(request.args[0] for request in requests))
        self._encoded = dict(zip(prompts, self._ids_of(prompts), strict=True))  # HFLM asks for one at a time
        try:
            return super().generate_until(requests, disable_tqdm=disable_tqdm)
        finally:
            self._encoded = {}

    def _ids_of(self, texts: Sequence[str]) -> list[list[int]]:
        if all(text in self._encoded for text in texts):
            return [self._encoded[text] for text in texts]
        ids_of = body_ids if self.add_bos_token is False else token_ids
        written = self._asking.written
        found = iter(ids_of(self.tokenizer, [text for text in texts if text not in written], chats=self._chats))
        return [written[text] if text in written else next(found) for text in texts]

    def _context_of_nothing(self) -> list[int]:
        """The context of a text's first scored token: the start tokens, or else the token that ended the text before.

        A prefix token given on lm-eval's command line takes their place.
        """
        if self.custom_prefix_token_id is not None:
            return [self.custom_prefix_token_id]
        return self.start or [self.prefix_token_id]

    def _cut(self, ids: list[int], length: int) -> list[int]:
        """Truncate on the left to ``length`` tokens, but keep the tokens that start a text."""
        if len(ids) <= length:
            return ids
        start = self.start
        start = start if start == ids[: len(start)] and len(start) < length else []
        return start + ids[len(ids) - length + len(start) :]

    def _loglikelihood_tokens(
        self, requests: Sequence[_Request], disable_tqdm: bool = True, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        """The same as lm-eval's, up to rounding, with each context computed once for all its continuations.

        Raises:
            ConfigError: A continuation is longer than the model's maximum length.
        """
        by_context: dict[tuple[int, ...], list[int]] = {}
        for number, (_, context, continuation) in enumerate(requests):
            if len(continuation) > self.max_length:
                raise ConfigError(
                    f"the continuation to score has {len(continuation)} tokens, but the model reads at most "
                    f"{self.max_length}; raise base.max_length"
                )
            # The last token is predicted, not read.
            kept = self._cut(context, self.max_length + 1 - len(continuation))
            by_context.setdefault(tuple(kept), []).append(number)
        items = [Item(context, [requests[number][2] for number in group]) for context, group in by_context.items()]
        found = continuation_likelihoods(self.model, items, rows_per_pass=self.rows_per_pass, tape=self._tape)
        results: dict[int, tuple[float, bool]] = {}
        for group, likelihoods in zip(by_context.values(), found, strict=True):
            results.update(zip(group, likelihoods, strict=True))
        return [
            (LogLikelihood(results[number][0], len(requests[number][2])), results[number][1])
            for number in range(len(requests))
        ]

    def _model_generate(
        self,
        context: Tensor,
        max_length: int,
        stop: list[str],
        attention_mask: Tensor | None = None,
        **options: object,
    ) -> Tensor:
        # A generation config may name no end of text. HFLM would then let the rows run on, and would decode what
        # follows the end of text as part of the answer, because it leaves special tokens out of the decoded text.
        ends = self.model.generation_config.eos_token_id
        ends = {
            self.eot_token_id,
            *self._asking.end_ids,
            *(ends if isinstance(ends, list) else [] if ends is None else [ends]),
        }
        # HFLM stops once all rows hold the same stop string or all have ended, but runs to the end with rows of both.
        stop_at = StopStrings(self.tokenizer, stop, context.shape[1])
        if options.get("do_sample") in (None, False) and not options.get("temperature"):
            options = {key: value for key, value in options.items() if key != "temperature"} | {"do_sample": False}
        mask_BT = torch.ones_like(context) if attention_mask is None else attention_mask

        def generate() -> list[list[int]]:
            prompts = with_shared_prefix(self.model, context, mask_BT, max_length)
            said_BT = self.model.generate(
                input_ids=prompts.ids_BT,
                attention_mask=prompts.mask_BT,
                past_key_values=prompts.cache,
                max_length=max_length,
                stopping_criteria=StoppingCriteriaList([stop_at]),
                pad_token_id=self.tokenizer.pad_token_id,
                use_cache=True,
                eos_token_id=sorted(ends),
                **options,
            )
            return said_BT.tolist()

        return torch.tensor(self._tape.next(generate), device=context.device)


class StopStrings(StoppingCriteria):
    """Ends each row at the first stop string that it holds."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, strings: Sequence[str], start: int):
        self._tokenizer, self._strings, self._start = tokenizer, [string for string in strings if string], start
        self._width = max(map(len, body_ids(tokenizer, self._strings)), default=0) + _LOOK_BACK
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
