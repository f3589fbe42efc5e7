"""Tensors on disk: whatever their strides, they come back with the same bits."""

import pytest
import torch

from smf.files.tensors import read_tensors, write_tensors
from tests.helpers import same_bytes

NUMBERS = torch.arange(12.0).view(3, 4)


@pytest.mark.parametrize(
    "tensor",
    [
        NUMBERS[:1, 1],  # one number, with the stride of a column
        NUMBERS[1:2],
        NUMBERS[:1].t(),
        NUMBERS[2:, 3:],
        NUMBERS[2, 3],
        NUMBERS.t(),
        NUMBERS[:, ::2],
        NUMBERS[:0],
        NUMBERS[:1, :1].bfloat16().expand(1, 5),
        torch.tensor([[1, 5]])[:, 1].int(),  # as a patch with one movement has it
        torch.tensor([[True, False]])[:, :1],
    ],
)
def test_a_tensor_of_any_strides_is_written_and_read_back(tensor, tmp_path):
    write_tensors(tmp_path / "t.safetensors", {"a": tensor}, {})
    found, _ = read_tensors(tmp_path / "t.safetensors")
    assert same_bytes(found["a"], tensor)
