"""The code that a memory model's folder carries, so that ``trust_remote_code=True`` loads it where smf is missing.

These are smf's own modules, exactly those that the model needs. transformers looks for code only at the top level of
the folder, so the modules lie flat (``smf/memory/layer.py`` is ``smf_memory_layer.py``) and import each other
relatively.
"""

import ast
import json
import re
from pathlib import Path

from smf.files.package import PACKAGE, package_file

_MODEL = "smf.models.memory_model"
# Both classes through one file: transformers copies the code once for each file that the map names.
_AUTO_MAP = {
    "AutoConfig": f"{_MODEL.replace('.', '_')}.MemoryConfig",
    "AutoModelForCausalLM": f"{_MODEL.replace('.', '_')}.MemoryForCausalLM",
}
_IMPORT = re.compile(rf"^(\s*from ){PACKAGE}((?:\.\w+)+) import ", flags=re.MULTILINE)
_HEADER = "# A copy of {source} of smf: sparse memory finetuning.\n"


def remote_code() -> dict[str, str]:
    """The text of each file, by file name."""
    texts: dict[str, str] = {}
    waiting = [_MODEL]
    while waiting:
        module = waiting.pop()
        name = f"{module.replace('.', '_')}.py"
        if name not in texts:
            path = _source(module)
            text = path.read_text(encoding="utf-8")
            source = path.relative_to(package_file().parent).as_posix()
            texts[name] = _HEADER.format(source=source) + _IMPORT.sub(_relative, text)
            waiting += _imported(text)
    return texts


def add_remote_code(folder: str | Path) -> None:
    """Put the code into a memory model's folder and name it in ``config.json``."""
    folder = Path(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["auto_map"] = _AUTO_MAP
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    for name, text in remote_code().items():
        (folder / name).write_text(text, encoding="utf-8")


def _imported(text: str) -> list[str]:
    """Modules of smf that a module's text imports from, inside functions too."""
    froms = [node.module for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom) and node.module]
    return [module for module in froms if module.split(".")[0] == PACKAGE]


def _source(module: str) -> Path:
    parts = module.split(".")[1:]
    package = package_file(*parts, "__init__.py")
    return package if package.is_file() else package_file(*parts).with_suffix(".py")


def _relative(found: re.Match) -> str:
    return f"{found[1]}.{PACKAGE}{found[2].replace('.', '_')} import "
