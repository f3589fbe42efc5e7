"""Names of the files in a model folder."""

MODEL_FILES = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
"""The files of a model folder, as transformers writes them."""

CODE_FILES = (
    "smf_errors.py",
    "smf_memory.py",
    "smf_memory_access.py",
    "smf_memory_bags.py",
    "smf_memory_layer.py",
    "smf_memory_product_keys.py",
    "smf_memory_ranking.py",
    "smf_memory_row_sparse.py",
    "smf_memory_tables.py",
    "smf_memory_triton_bags.py",
    "smf_models_config.py",
    "smf_models_memory_model.py",
    "smf_models_packed_tables.py",
)
"""The code beside a memory model, for use without smf, see :mod:`smf.models.remote_code`."""

COUNTS_FILE = "background_counts.safetensors"
"""The background counts beside a model that :mod:`smf.teaching.retrofit_folder` wrote; copies keep it."""

ASKING_FILE = "asking.json"
"""How best to prompt the model, beside a model that :mod:`smf.teaching.retrofit_folder` wrote; copies keep it."""

MEMORY_MODEL_FILES = (*MODEL_FILES, *CODE_FILES)
"""The files of a memory model's folder."""
