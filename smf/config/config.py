"""The whole config: its sections, and the keys that stand beside them."""

from typing import Annotated, Literal

from pydantic import Field

from smf.config.background import Background
from smf.config.base import Base
from smf.config.comparison import CoreSets, Frontier, Interpolation, Sweep, Tuning
from smf.config.data import Data
from smf.config.evaluation import Evaluation
from smf.config.memory import Memory
from smf.config.methods import MethodName
from smf.config.stream import Stream
from smf.config.training import Healing
from smf.methods.kind_settings import MethodEntry
from smf.settings.section import Distinct, Natural, PositiveNumber, Section


class Config(Section):
    """Every key, what it means, its unit and its default. Keys that are not listed here are refused.

    The settings of a method depend on its kind and are described in smf/methods/<kind>.py. In a file laid over another,
    null removes what the other sets, unless null is listed as a value of the key; lists are replaced, not merged.
    """

    results: str = Field("results", pattern=r"^results(/[a-z0-9_]+)?$")
    """Folder of all artifacts, below the folder where Snakemake runs. A preset writes to results/<its name>."""
    device: str = Field("cpu", pattern=r"^(cpu|cuda(:[0-9]+)?|mps)$")
    """torch device of all models."""
    device_memory: PositiveNumber | None = None
    """Memory of the device in GB, for results/plan.txt only; null asks the device."""
    resume_interval: Natural = 300
    """Seconds between saves of a long job's resume state, below <results>/resume; longer where saving would take more
    than 2 % of the time. Changing it reruns nothing."""
    preload: bool = True
    """Whether jobs on this machine start as copies of one process that has imported torch and transformers, which saves
    each of them seconds (docs/snakemake.md). Only on Linux; never on a cluster. Changing it reruns nothing."""
    prompt_format: Literal["plain", "few_shot", "chat"] = "plain"
    """How questions are asked: those of held-out sets, of facts and of their neighbours; wordings that the answer
    completes stay as they are. plain: "Q: ...?" and "A:" on the next line, as in the text that a base model is
    pretrained on here. few_shot: the same after five solved examples of general knowledge, which models pretrained
    elsewhere often need; a line break ends the answer. chat: one user message in the tokenizer's chat template, for
    instruct models; refused if there is no template, and for a base model that is pretrained here."""
    data: Data
    base: Base
    memory: Memory
    healing: Healing = Field(default_factory=Healing)
    background: Background = Field(default_factory=Background)
    stream: Stream
    methods: Annotated[dict[MethodName, MethodEntry], Field(min_length=1)]
    """The methods to compare: a name of your choice, and its settings."""
    sweeps: dict[str, Sweep] = {}
    """Settings that results/figures/frontier.pdf compares: a method's name, and lists of values by setting. A method
    that is not named here is tried with the learning rates of its sweep, or as configured."""
    frontier: Frontier = Field(default_factory=Frontier)
    interpolation: Interpolation = Field(default_factory=Interpolation)
    seeds: Annotated[Distinct[Natural], Field(min_length=1)]
    """Runs of each method; a seed draws the facts, their order and the method's random numbers."""
    tuning: Tuning = Field(default_factory=Tuning)
    core_sets: CoreSets = Field(default_factory=CoreSets)
    evaluation: Evaluation = Field(default_factory=Evaluation)
