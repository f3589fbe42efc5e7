"""What a model folder holds."""

MODEL_FILES = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
"""The files of a model folder, as transformers writes them."""
