"""Ask a model with a text before each question: what a method that retrieves has instead of other weights."""

import logging
import statistics
from collections.abc import Iterable
from dataclasses import replace

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from smf.evaluation.documents import FACT_FORMS
from smf.evaluation.language_model import LanguageModel
from smf.scores.metrics import COST, LOCALITY
from smf.streams.asking import Asking, Retrieve

logger = logging.getLogger(__name__)


class Retrieved(LM):
    """A model that reads what is retrieved before it answers.

    Nothing is retrieved for likelihoods (multiple choice, completions, running text), whose texts ask nothing, nor for
    lm-eval's own tasks, whose prompts have forms of their own.

    Args:
        lm: The model.
        retrieve: Gives the text to put before what a prompt asks.
        asking: The format of the prompts.
        sets: Names of the held-out sets.
    """

    def __init__(self, lm: LanguageModel, retrieve: Retrieve, asking: Asking, sets: Iterable[str]):
        super().__init__()
        self._lm, self._retrieve, self._asking = lm, retrieve, asking
        forms = (*FACT_FORMS, "updated", "stale")
        self._names = {f"smf_{name}": name for name in sets} | {f"smf_facts_{form}": "facts" for form in forms}
        self._names["smf_facts_locality"] = LOCALITY.removesuffix("_f1")
        self._tokens: dict[str, list[int]] = {}
        self._num_cut = 0

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Answer each prompt behind what is retrieved for it; warn of prompts that are then too long for the model."""
        given = [self._given(request) for request in requests]
        if self._num_cut:
            logger.warning(
                "with what is retrieved %d of %d prompts are longer than the model reads (%d tokens, the answer "
                "included) and lose their beginning; retrieve less",
                *(self._num_cut, len(given), self._lm.max_length),
            )
        return self._lm.generate_until(given)

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """The model's own, without retrieval."""
        return self._lm.loglikelihood(requests)

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """The model's own, without retrieval."""
        return self._lm.loglikelihood_rolling(requests)

    def costs(self) -> list[dict]:
        """How many tokens retrieval added to a prompt: for each held-out set, for facts and for their neighbours.

        Returns:
            Rows of scores, ``<set>_retrieved_tokens``: the mean over the prompts asked, and its standard error (None
            for a single one).
        """
        return [
            {
                "metric": f"{name}_{COST}",
                "value": statistics.fmean(added),
                "stderr": statistics.stdev(added) / len(added) ** 0.5 if len(added) > 1 else None,
            }
            for name, added in self._tokens.items()
        ]

    def _given(self, request: Instance) -> Instance:
        if request.task_name not in self._names:
            return request
        prompt, options = request.args
        given = self._asking.behind(prompt, self._retrieve)
        before, after = (len(self._lm.tok_encode(text)) for text in (prompt, given))
        self._tokens.setdefault(self._names[request.task_name], []).append(after - before)
        self._num_cut += before < after > self._lm.max_length - options["max_gen_toks"]
        return replace(request, arguments=(given, options))
