# Shared by all rules: the checked experiment, the names that wildcards may take, and the paths of a run's inputs.

import json
import os
import re
from pathlib import Path

from snakemake.utils import update_config

from smf.files.package import package_file
from smf.jobs.code_digest import code_digest
from smf.config.experiment import Experiment
from smf.files.digests import FileDigests
from smf.jobs.lost import lost_files
from smf.files.model_folder import MEMORY_MODEL_FILES, MODEL_FILES
from smf.data.formats import OWN_FORMATS
from smf.data.known_rows import KNOWN, known_neighbours, known_sets, only_unknown_facts
from smf.jobs.user_files import UserFiles
from smf.methods.registry import method_class
from smf.streams.updates import updates_of

update_config(config, OVERRIDES)

with refused_config():
    EXPERIMENT = Experiment(config)
    if CONFIG_FILES is not None:
        CONFIG_FILES.require_underneath(EXPERIMENT.removed)

config["methods"] = EXPERIMENT.methods  # the report's captions read it, and an overlay may have removed methods

# Jobs look for seals and resume state below the results. With a default storage they work on copies; seals and state
# are then in the storage itself, which must be a folder that all jobs see.
KEPT = EXPERIMENT.config["results"]

if (storage := workflow.storage_settings.default_storage_provider) is not None:
    if storage != "fs":
        raise WorkflowError(
            f"--default-storage-provider is {storage}, but jobs look for seals and resume state in a folder that all "
            "of them see; use fs, as profiles/kubernetes does\n"
        )
    KEPT = os.path.normpath(f"{workflow.storage_settings.default_storage_prefix}/{KEPT}")

config["kept"] = KEPT

# Jobs find the paths of the user's own files here. Their params hold the files' contents, so that edits make results
# stale.
config["checked"] = EXPERIMENT.config

# Jobs find base.gradient_checkpointing there too. It is no param, as recomputed activations have the same bits; but it
# keeps prompts from sharing a pass over their context, which moves results by rounding. That is a param.
WHOLE_PROMPTS = EXPERIMENT.config["base"]["gradient_checkpointing"] and bool(
    EXPERIMENT.config["stream"]["behind_text"] or EXPERIMENT.config["stream"]["behind_examples"]
)

DIGESTS = FileDigests(Path(KEPT) / ".seals" / ".digests.json")
USER_FILES = UserFiles(EXPERIMENT.config, DIGESTS)


def alternatives(names):
    """A pattern that matches these names and no other."""
    return "|".join(map(re.escape, names))


wildcard_constraints:
    method=alternatives(EXPERIMENT.methods),
    seed=alternatives(map(str, EXPERIMENT.all_seeds)),


# On a CPU no job asks for a GPU; otherwise each job that computes asks for one, and the profile says how many there are.
GPUS = 0 if EXPERIMENT.config["device"] == "cpu" else 1


# Held-out sets whose rows are filtered by what the base model answers, and whether new facts are.
KNOWN_SETS = known_sets(EXPERIMENT.config["data"])
ONLY_UNKNOWN_FACTS = only_unknown_facts(EXPERIMENT.config["data"])

# Files of the held-out sets by name: as drawn, as filtered by the base model's answers, and as asked.
DRAWN_FILES = {name: f"{EXPERIMENT.config['results']}/data/held_out/{name}.jsonl" for name in EXPERIMENT.probes}
KNOWN_FILES = {name: f"{EXPERIMENT.config['results']}/{KNOWN}/{name}.jsonl" for name in KNOWN_SETS}
HELD_OUT_FILES = DRAWN_FILES | KNOWN_FILES

FACTS_FILE = f"<results>/{KNOWN if ONLY_UNKNOWN_FACTS else 'data'}/facts.jsonl"
LABELS_FILE = f"<results>/{KNOWN if KNOWN_SETS or ONLY_UNKNOWN_FACTS else 'data'}/labels.json"


def code_of(script, *files):
    """The digest of a script's code; as a param it makes an edit rerun what the code made."""
    return code_digest(WORKFLOW / "scripts" / script, *files)


def method_code(wildcards):
    """The file of a run's method kind, which no script imports by name."""
    return package_file("methods", f"{EXPERIMENT.runs[wildcards.method]['kind']}.py")


# What lm-eval asks and how it scores: code in all but its suffix.
TASK_FILES = sorted(package_file("evaluation", "tasks").glob("*/*.yaml"))

if EXPERIMENT.config["evaluation"]["tasks"] and workflow.is_main_process:
    from smf.evaluation.named_tasks import check_names  # a slow import, which other experiments do not need

    with refused_config():
        check_names(EXPERIMENT.config["evaluation"]["tasks"], EXPERIMENT.config["evaluation"]["include_path"])


def make_lost_files_again(wildcards):
    """No input. Every plan calls this, as all results depend on data; so it is the place to make lost files again."""
    if workflow.is_main_process and KEPT == EXPERIMENT.config["results"]:
        workflow.dag.forcefiles.update(map(str, lost_files(Path(KEPT))))
    return []


def start_files(wildcards):
    """The model that a run starts from."""
    return expand("<results>/{start}/{file}", start=EXPERIMENT.start(wildcards.method), file=MODEL_FILES)


def counts_file(wildcards):
    """The background counts, for runs that need them."""
    return ["<results>/background/counts.safetensors"] if EXPERIMENT.needs_background(wildcards.method) else []


def weighs_contrast(run):
    """Whether a run reads the counts of contrast texts."""
    return EXPERIMENT.runs[run].get("contrast", 0) > 0


def contrast_file(wildcards):
    """The counts of contrast texts, for runs that weigh them."""
    return only_if(weighs_contrast(wildcards.method), "<results>/background/contrast.safetensors")


def contrast_wordings(wildcards):
    """The settings that the wordings of contrast texts depend on, beside the data."""
    is_worded = EXPERIMENT.config["data"]["contrast"]["num_facts"] and EXPERIMENT.wordings["source"] == "templates"
    return EXPERIMENT.wordings if is_worded else None


def texts_file(wildcards):
    """Background text, for runs that read it while they learn."""
    return ["<results>/data/background.jsonl"] if EXPERIMENT.needs_texts(wildcards.method) else []


def contrast_texts_file(wildcards):
    """The contrast texts, for runs that read them while they learn."""
    run = EXPERIMENT.runs[wildcards.method]
    return only_if(method_class(run["kind"]).reads_contrast_texts(run), "<results>/data/contrast.jsonl")


def paraphrases_file(wildcards):
    """The paraphrases of all facts, if a model makes them."""
    return ["<results>/data/paraphrases.jsonl"] if EXPERIMENT.wordings["source"] == "model" else []


def paraphrase_settings(wildcards):
    """How a model paraphrases, with what its folder holds."""
    settings = EXPERIMENT.config["stream"]["paraphrases"]
    return {**settings, "model": USER_FILES.with_checkpoint(settings["model"])}


def are_own_facts():
    """Whether the new facts are the user's own, and not those of a public set or of the generated world."""
    data = EXPERIMENT.config["data"]
    return data["source"] == "collection" and data["collection"]["facts"]["format"] in OWN_FORMATS


def core_set_settings(wildcards):
    """How core sets are made; refused only if they are asked for, as not every experiment has a method for them."""
    with refused_config():
        return EXPERIMENT.core_sets


def overlap_runs(wildcards):
    """Method, setting in words and settings of each choice of slots; refused only if asked for, as there may be none."""
    if not EXPERIMENT.selecting:
        with refused_config():
            raise ConfigError("read_overlap needs a method of kind smf or smf_replay; add one under methods")
    return [(method, setting, EXPERIMENT.runs[run]) for run, (method, setting) in EXPERIMENT.selecting.items()]


def core_set_stream(wildcards):
    """The stream whose facts have their core sets taken."""
    return f"<results>/streams/seed-{core_set_settings(wildcards)['seed']}.jsonl"


def score_files(runs, seeds):
    """Scores of all snapshots of these runs, and of both start models, for these seeds."""
    starts = expand("<results>/{start}/evaluate/seed-{seed}.json", start=["base", "healed"], seed=seeds)
    snapshots = [
        f"<results>/runs/{run}/seed-{seed}/evaluate/position-{position}.json"
        for run in runs
        for seed in seeds
        for position in EXPERIMENT.positions_of(run, seed)
    ]
    return [*starts, *snapshots]


def only_if(there, path):
    """A file that the page shows if this experiment has it."""
    return [path] if there else []


# What each figure of scores shows, see smf.stages.shown.
SHOWN = {
    "starts": EXPERIMENT.starts,
    "asked": EXPERIMENT.config["evaluation"]["num_items"],
    "headline": EXPERIMENT.headline,
    "kinds": EXPERIMENT.kinds,
}

# Runs of the methods that record which slots they wrote, and their patches at the stream's end.
MEMORY_RUNS = [(name, seed) for name in EXPERIMENT.memory_methods for seed in EXPERIMENT.config["seeds"]]
MEMORY_PATCHES = [
    f"<results>/runs/{name}/seed-{seed}/learn/position-{EXPERIMENT.positions[-1]}.safetensors"
    for name, seed in MEMORY_RUNS
]


def command_options():
    """The options that make `snakemake` read the same config."""
    given = [min(str(path), os.path.relpath(path), key=len) for path in workflow.overwrite_configfiles]
    overrides = [f"{key}={json.dumps(value)}" for key, value in OVERRIDES.items()]
    return [*(["--configfile", *given] if given else []), *(["--config", *overrides] if overrides else [])]


config["command_options"] = command_options()  # for jobs whose inputs are damaged
