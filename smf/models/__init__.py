"""Language models with memory layers; importing this package registers them with transformers' Auto classes."""

from transformers import AutoConfig, AutoModelForCausalLM

from smf.models.config import MODEL_TYPE, MemoryConfig
from smf.models.memory_model import MemoryForCausalLM
from smf.settings.memory import MemorySettings as MemorySettings

AutoConfig.register(MODEL_TYPE, MemoryConfig, exist_ok=True)
AutoModelForCausalLM.register(MemoryConfig, MemoryForCausalLM, exist_ok=True)
