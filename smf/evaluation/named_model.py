"""The model class for lm-eval's command line: loaded by lm-eval, with all of its options, and scored as ours are."""

from lm_eval.api.registry import model_registry
from lm_eval.models.huggingface import HFLM

from smf.errors import ConfigError
from smf.evaluation.language_model import LanguageModel
from smf.models.vocabulary import require_rows_for_tokens

_NAMES = ("hf", "hf-auto", "huggingface")


class NamedModel(LanguageModel):
    """A causal model of ``--model hf``, which scores texts as the pipeline does.

    Args:
        pretrained: A folder or a name on the hub.
        options: Any other options of ``HFLM``.

    Raises:
        ConfigError: The model is not causal.
        CheckpointError: The tokenizer has tokens that the model has no embedding for.
    """

    def __init__(self, pretrained: str, **options: object):
        HFLM.__init__(self, pretrained, **options)
        if self.backend != "causal":
            raise ConfigError(
                f"{pretrained} is a {self.backend} model, and smf scores causal ones; use `python -m lm_eval`"
            )
        where = options.get("tokenizer") or pretrained
        require_rows_for_tokens(where, self.tokenizer, self.model.get_input_embeddings().weight.shape[0])
        self.prepare()
        self._rows: int | None = None

    @property
    def rows_per_pass(self) -> int:
        """Sequences per forward pass; with ``--batch_size auto`` as many as fit into memory at full length."""
        if not str(self.batch_size).startswith("auto"):
            return self.batch_size
        if self._rows is None:
            self._rows = self._detect_batch_size()
        return self._rows


def open_models_as_ours() -> None:
    """Make lm-eval load ``--model hf`` as :class:`NamedModel`."""
    # The registry refuses a second owner of a name, and the names are taken as soon as HFLM is imported.
    model_registry._objs |= dict.fromkeys(_NAMES, NamedModel)
