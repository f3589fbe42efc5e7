"""The section ``memory``."""

from smf.settings.memory import MemorySettings


class Memory(MemorySettings):
    """The memory layers."""

    calibrate_queries: bool = True
    """Spread the reads over the table before healing: queries get mean 0 and standard deviation 1 on background
    text."""
