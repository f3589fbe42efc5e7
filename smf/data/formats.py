"""The data-set formats that a config may name; the modules that read them say which columns they have."""

from smf.errors import ConfigError

TEXT_FORMATS = ("text", "instructions", "oasst1")
"""Ordinary text, see :mod:`smf.data.texts`."""

FACT_FORMATS = (
    "triviaqa",
    "nq_open",
    "simpleqa",
    "counterfact",
    "counterfact_rome",
    "medmcqa",
    "facts",
    "documents",
    "simpleqa_documents",
)
"""New facts, see :mod:`smf.data.fact_sets`, :mod:`smf.data.own_facts` and :mod:`smf.data.documents`."""

DOCUMENT_FORMATS = ("documents", "simpleqa_documents")
"""Facts that are passages: one row makes many facts."""

QUESTION_FORMATS = ("triviaqa", "nq_open", "simpleqa")
"""Facts that are questions of a set with many questions of the same form."""

OWN_FORMATS = ("facts", "documents")
"""The user's own facts: a bad row is an error. Bad rows of public sets are dropped and counted."""

FEW_FACTS = "facts"
"""The format whose facts are too few to set some aside for contrast texts, see :mod:`smf.streams.contrast`."""

WHOLE_TEXTS = ("medmcqa", *DOCUMENT_FORMATS)
"""Facts that are taught as whole texts, none of which ends with the answer."""

STATED_ONCE = ("counterfact", "counterfact_rome", *WHOLE_TEXTS)
"""Facts with a single training wording; a question has several, and the user's own facts as many as the user gives."""

PROBE_KINDS = {
    "nq_open": "questions",
    "triviaqa": "questions",
    "simpleqa": "questions",
    "hellaswag": "choices",
    "medmcqa": "choices",
    "gsm8k": "completions",
    "lambada": "completions",
    "text": "texts",
}
"""Held-out sets, see :mod:`smf.data.held_out_sets`: the kind of each format, which decides how to ask and score it."""

FORMATS = tuple(dict.fromkeys((*TEXT_FORMATS, *FACT_FORMATS, *PROBE_KINDS)))
"""All formats, each once."""


def probe_kind(format: str) -> str:
    """How a held-out set of this format is asked: ``questions``, ``choices``, ``completions`` or ``texts``.

    Raises:
        ConfigError: Held-out sets have no such format.
    """
    if format not in PROBE_KINDS:
        raise ConfigError(f"{format!r} is not a format of held-out sets; known: {', '.join(sorted(PROBE_KINDS))}")
    return PROBE_KINDS[format]
