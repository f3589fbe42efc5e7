"""Weighted sums of rows: torch's embedding_bag and the Triton kernel, interpreted, against loops in float64."""

import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smf.memory.bags import weighted_bags, weighted_sums


def slow_bags(table, rows, weights, starts):
    """Bag by bag, lookup by lookup."""
    sums = torch.zeros(len(starts) - 1, table.shape[1], dtype=torch.double)
    for bag in range(len(starts) - 1):
        for place in range(starts[bag], starts[bag + 1]):
            sums[bag] += weights[place].double() * table[rows[place]].double()
    return sums


@st.composite
def bags(draw):
    """Any number of rows, odd sizes, empty bags, repeated rows, and lookups that belong to no bag."""
    num_rows, num_columns = draw(st.integers(1, 9)), draw(st.integers(1, 300))
    sizes = draw(st.lists(st.integers(0, 40), min_size=1, max_size=6))
    starts = torch.tensor([0, *sizes]).cumsum(0)
    num_lookups = int(starts[-1]) + draw(st.integers(0, 3))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    return (
        torch.randn(num_rows, num_columns, generator=generator),
        torch.randint(num_rows, (num_lookups,), generator=generator),
        torch.rand(num_lookups, generator=generator),
        starts,
    )


@settings(max_examples=100, deadline=None)
@given(bags())
def test_bags_equal_loops(drawn):
    torch.testing.assert_close(weighted_bags(*drawn).double(), slow_bags(*drawn), rtol=1e-5, atol=1e-5)


def test_sums_of_tokens_are_bags_of_equal_size():
    torch.manual_seed(0)
    table, rows, weights = torch.randn(7, 5), torch.randint(7, (4, 6)), torch.rand(4, 6)
    expected = slow_bags(table, rows.flatten(), weights.flatten(), torch.arange(0, 25, 6))
    torch.testing.assert_close(weighted_sums(table, rows, weights).double(), expected, rtol=1e-5, atol=1e-5)


INTERPRETED = """
import torch, triton
from tests.reference.test_bags import slow_bags
from smf.memory.triton_bags import triton_weighted_bags

generator = torch.Generator().manual_seed(0)
for columns in (1, 3, 64, 255, 300, 896):
    for sizes in ([0], [1], [5, 0, 17, 16], [33, 2, 0, 0]):
        for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 4e-2)):
            starts = torch.tensor([0, *sizes]).cumsum(0)
            number = int(starts[-1]) + 2  # two lookups that belong to no bag
            table = torch.randn(11, 2 * columns, generator=generator).to(dtype)[:, :columns]  # not contiguous
            rows = torch.randint(11, (number,), generator=generator)
            weights = torch.rand(number, generator=generator).to(dtype)
            sums = triton_weighted_bags(table, rows, weights, starts)
            assert sums.dtype == dtype and sums.is_contiguous()
            torch.testing.assert_close(
                sums.double(), slow_bags(table, rows, weights, starts), rtol=tolerance, atol=tolerance
            )
print("all equal")
"""


def test_the_triton_kernel_equals_loops_for_any_row_size_and_number_of_lookups():
    pytest.importorskip("triton")
    environment = {**os.environ, "TRITON_INTERPRET": "1"}  # read when the kernel is defined: hence a process of its own
    done = subprocess.run(
        [sys.executable, "-c", INTERPRETED], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout == "all equal\n", done.stderr


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_the_triton_kernel_compiles_for_an_h100(dtype):
    """Needs no GPU: Triton brings its own assembler."""
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from smf.memory.triton_bags import _sum_bags

    if not hasattr(_sum_bags, "params"):
        pytest.skip("Triton runs in interpreter mode, which defines no kernel to compile")
    types = {"table": dtype, "rows": "i64", "weights": dtype, "starts": "i64", "sums": dtype}
    numbers = {"num_columns": "i32", "row_stride": "i64"}
    constants = {"column_stride": 1, "BLOCK_V": 256, "BLOCK_L": 16}
    signature = {name: f"*{kind}" for name, kind in types.items()} | numbers | dict.fromkeys(constants, "constexpr")
    aligned = {(number,): [["tt.divisibility", 16]] for number in range(len(types) + len(numbers))}
    source = ASTSource(fn=_sum_bags, signature=signature, constexprs=constants, attrs=aligned)
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32))
    assert compiled.asm["cubin"]
    assert "ld.global.v4.b32" in compiled.asm["ptx"]  # rows are loaded 16 bytes at a time
