"""Product-key memory layers: search, read, sparse update. Knows nothing of transformers, scores or methods."""

from smf.memory.access import SlotReads as SlotReads
from smf.memory.access import record_slot_reads as record_slot_reads
from smf.memory.bags import sizes_are_free as sizes_are_free
from smf.memory.layer import MemoryLayer as MemoryLayer
from smf.memory.layer import OutputGate as OutputGate
from smf.memory.layer import QueryNorm as QueryNorm
from smf.memory.layer import ValueType as ValueType
from smf.memory.row_sparse import RowGradient as RowGradient
