"""A memory's folder: ``adapter_config.json`` and ``adapter_model.safetensors``, as peft names and reads them.

The first names the memory's settings, its base and the hash of the second. Tensors are called as in the base with a
memory beside a block's ``mlp``: ``base_model.model.model.layers.3.mlp.sparse_memory_layer.query.weight``. Of value
tables the file holds slots that are not zero (:mod:`smf.adapters.packing`).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from smf.adapters.base import Base, base_from
from smf.adapters.packing import packed, unpacked
from smf.errors import CheckpointError, ConfigError, DataError
from smf.files.artifacts import read_json, sha256, write_json
from smf.files.atomic import atomic_path
from smf.models.memory_model import chosen_blocks
from smf.settings.check import check
from smf.settings.memory import MemorySettings

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
KIND = "SPARSE_MEMORY"
"""What peft calls it: ``peft_type``."""
PREFIX, ATTRIBUTE = "sparse_memory_", "sparse_memory_layer"
FORMAT_VERSION = 1

_REMEDY = "get a new copy of the memory, or save it again"


@dataclass(frozen=True)
class Adapter:
    """A memory and the base that it belongs to.

    Attributes:
        memory: Where its layers go and how large they are.
        base: The base.
        tensors: Its weights, as the file calls them.
    """

    memory: MemorySettings
    base: Base
    tensors: Mapping[str, Tensor]


def tensor_prefixes(base: PreTrainedModel, memory: MemorySettings) -> dict[int, str]:
    """What the names of a layer's tensors begin with, by block.

    Raises:
        CheckpointError: The architecture is not supported, or a block does not exist.
    """
    names = {id(module): name for name, module in base.named_modules()}
    blocks = chosen_blocks(base, memory.layers)
    return {number: f"base_model.model.{names[id(block.mlp)]}.{ATTRIBUTE}." for number, block in blocks.items()}


def require_additive(memory: MemorySettings) -> None:
    """Refuse a memory that is nothing without the model around it.

    Raises:
        CheckpointError: It took the place of feed-forward networks.
    """
    if memory.mode != "additive":
        raise CheckpointError(
            f"a memory of mode {memory.mode} replaced feed-forward networks, so its model is no longer base "
            "plus memory; save the whole model with save_checkpoint, or use mode additive"
        )


def write_adapter(folder: str | Path, adapter: Adapter) -> None:
    """Write a memory; what the folder held of another one is gone. The configuration is written last."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in packed(adapter.tensors).items()}
    with atomic_path(folder / WEIGHTS) as temporary:
        try:
            save_file(on_cpu, temporary, {"format": "pt"})
        except SafetensorError as error:
            raise OSError(f"cannot write {folder / WEIGHTS}: {error}") from error  # such as a full disk
        (folder / CONFIG).unlink(missing_ok=True)  # weights must not stand beside another memory's configuration
    name, revision = adapter.base.name, adapter.base.revision
    config = {
        "peft_type": KIND,
        "task_type": "CAUSAL_LM",
        "inference_mode": True,
        "base_model_name_or_path": name,
        "revision": revision,
        "base": listed_base(adapter.base),
        "memory": adapter.memory.plain(),
        "weights_sha256": sha256(folder / WEIGHTS),
        "smf_format": FORMAT_VERSION,
    }
    write_json(folder / CONFIG, config)


def listed_base(base: Base) -> dict[str, object]:
    """What the configuration says of the base beside its name."""
    return {key: value for key, value in asdict(base).items() if key not in ("name", "revision")}


def read_adapter(folder: str | Path) -> Adapter:
    """Read a memory, whoever wrote it: :func:`write_adapter`, or peft.

    Raises:
        CheckpointError: A file is missing, damaged or of another format, or what they hold is no memory.
    """
    path, weights = Path(folder) / CONFIG, Path(folder) / WEIGHTS
    for file in (path, weights):
        if not file.is_file():
            raise CheckpointError(f"{folder} holds no memory: there is no {file.name} in it; {_REMEDY}")
    try:
        config = read_json(path)
    except DataError as error:
        raise CheckpointError(f"{error}; {_REMEDY}") from error
    if config.get("peft_type") != KIND:
        raise CheckpointError(
            f"{path} is for an adapter of type {config.get('peft_type')}, and a memory is of type {KIND}; load "
            "it with peft"
        )
    if config.get("smf_format") != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has smf format {config.get('smf_format')}, this version reads {FORMAT_VERSION}; {_REMEDY}"
        )
    memory = memory_from(path, config.get("memory"))
    base = base_from(path, config.get("base"), config.get("base_model_name_or_path"), config.get("revision"))
    if sha256(weights) != config.get("weights_sha256"):
        raise CheckpointError(f"{weights} is not the file that {path.name} belongs to, or is damaged; {_REMEDY}")
    try:
        tensors = load_file(weights)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot read {weights}: {error}; {_REMEDY}") from error
    return Adapter(memory, base, unpacked(weights, tensors, memory.num_keys**2))


def memory_from(where: object, settings: object) -> MemorySettings:
    """The settings that a file holds.

    Raises:
        CheckpointError: They are no settings of a memory.
    """
    if not isinstance(settings, dict):
        raise CheckpointError(f"{where} holds no memory settings; {_REMEDY}")
    try:
        return check(dict(settings), MemorySettings, "memory")[0]
    except ConfigError as error:
        raise CheckpointError(f"{where}: {error}; {_REMEDY}") from error


def require_fitting(where: object, tensors: Mapping[str, Tensor], layers: Mapping[str, nn.Module]) -> None:
    """Check that a file holds the tensors of some layers, each in its type and shape, and no others.

    Args:
        where: The file, for messages.
        tensors: What it holds.
        layers: The layers, by what the names of their tensors begin with.

    Raises:
        CheckpointError: It does not; names the first such tensor.
    """
    wanted = {prefix + name: weight for prefix, layer in layers.items() for name, weight in layer.state_dict().items()}
    for name in sorted(wanted.keys() | tensors.keys()):
        found, right = (_kind_of(each.get(name)) for each in (tensors, wanted))
        if found != right:
            raise CheckpointError(f"{where}: {name} is {found}, but must be {right}; {_REMEDY}")


def _kind_of(tensor: Tensor | None) -> str:
    return "not there" if tensor is None else f"{str(tensor.dtype).removeprefix('torch.')} of {list(tensor.shape)}"
