"""The formats of data sets that a config may name: which columns they have is in the modules that read them."""

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
"""Facts that are passages: one row makes many of them."""

QUESTION_FORMATS = ("triviaqa", "nq_open", "simpleqa")
"""Facts that are questions of a set, which has other questions of the same form."""

OWN_FORMATS = ("facts", "documents")
"""Facts of the user's own, who is told what is wrong with them; rows of public sets are dropped and counted."""

FEW_FACTS = "facts"
"""Facts that are too few to set some aside for contrast texts, see :mod:`smf.streams.contrast`."""

STATED_ONCE = ("counterfact", "counterfact_rome", "medmcqa", *DOCUMENT_FORMATS)
"""Facts that have one training wording of their own; a question has several, and your own facts as many as you give."""

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
"""Held-out sets, see :mod:`smf.data.held_out_sets`: the kind of each format, by which it is asked and scored."""

FORMATS = tuple(dict.fromkeys((*TEXT_FORMATS, *FACT_FORMATS, *PROBE_KINDS)))
"""All of them, each once."""


def probe_kind(format: str) -> str:
    """How a held-out set of this format is asked: ``questions``, ``choices``, ``completions`` or ``texts``.

    Raises:
        ConfigError: There is no such format of held-out sets.
    """
    if format not in PROBE_KINDS:
        raise ConfigError(f"{format!r} is no format of held-out sets; known: {', '.join(sorted(PROBE_KINDS))}")
    return PROBE_KINDS[format]
