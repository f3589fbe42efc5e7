"""What comes from elsewhere runs no code and writes nowhere but where it should."""

import json
import pickle
import re

import pytest

from smf.config.experiment import Experiment
from smf.errors import CheckpointError, ConfigError
from smf.models.checkpoint import load_model, save_checkpoint
from tests.helpers import base_model, tokenizer
from tests.workflow.runs import ROOT, tiny


class Bomb:
    """Leaves a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_folder_with_pickled_weights_is_refused_and_the_pickle_never_read(tmp_path):
    save_checkpoint(base_model(), tokenizer(), tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    with open(tmp_path / "model" / "pytorch_model.bin", "wb") as file:
        pickle.dump(Bomb(tmp_path / "fired"), file)
    with pytest.raises(CheckpointError, match="cannot load a language model from"):
        load_model(tmp_path / "model", "cpu")
    assert not (tmp_path / "fired").exists()


def test_a_folder_with_code_of_its_own_is_refused_and_the_code_never_run(tmp_path):
    save_checkpoint(base_model(), tokenizer(), tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    config |= {"model_type": "trap", "auto_map": {"AutoConfig": "trap.Config", "AutoModelForCausalLM": "trap.Model"}}
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    (tmp_path / "model" / "trap.py").write_text(f"open({str(tmp_path / 'fired')!r}, 'w')\n")
    with pytest.raises(CheckpointError, match="cannot load a language model from"):
        load_model(tmp_path / "model", "cpu")
    assert not (tmp_path / "fired").exists()


def test_the_code_reads_no_pickles_and_runs_no_text():
    forbidden = re.compile(r"\bpickle\b.*import|import pickle|torch\.load\(|yaml\.load\(|\beval\(\"|\bexec\(")
    for folder in ("smf", "workflow", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            found = forbidden.search(path.read_text(encoding="utf-8"))
            assert found is None, f"{path}: {found[0]}"


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "a/../../outside", "..", "a b"])
def test_a_results_folder_lies_below_results(name):
    with pytest.raises(ConfigError, match="results: "):
        Experiment(tiny(results=name))
