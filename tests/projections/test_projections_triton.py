"""The Triton kernels without a GPU: interpreted against the definition, and compiled for two generations of GPU."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs triton")

HERE = Path(__file__).parent

AHEAD_OF_TIME = """
import inspect
import sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from sparse_plugin.projections import gpu, triton_kernels as kernels

POINTERS = {"histograms": "*i32", "ties": "*i32", "states": "*i64"}

def compile_for(generation, kernel, bits, **constants):
    pointers = {**POINTERS, **dict.fromkeys(("gamma", "out", "grad", "projected"), bits)}
    signature = {n: "constexpr" if n in constants else pointers.get(n, "i32") for n in kernel.arg_names}
    if "constexprs" in inspect.signature(ASTSource).parameters:
        places = {(kernel.arg_names.index(n),): value for n, value in constants.items()}
        source = ASTSource(kernel, signature, constexprs=places)
    else:  # Triton 3.2
        source = ASTSource(kernel, {n: kind for n, kind in signature.items() if kind != "constexpr"}, constants)
    built = triton.compile(source, target=GPUTarget("cuda", generation, 32), options={"num_warps": 8})
    assert built.asm["cubin"] and f".target sm_{generation}" in built.asm["ptx"]
    assert built.metadata.shared <= 48 * 1024, built.metadata.shared

generation = int(sys.argv[1])
block = gpu._BLOCK
for bits, width, nan in (("*i32", 32, 0x7F800001), ("*i16", 16, 0x7F81), ("*i64", 64, 0x7FF0000000000001)):
    same = {"WIDTH": width, "NAN": nan}
    held, at_once = gpu.block_of_needles(256, 10**6)
    compile_for(generation, kernels.needles, bits, **same, CHANNELS=held, POSITIONS=at_once)
    dense = {**same, "DENSE": width == 32, "BLOCK": block}
    compile_for(generation, kernels.count_digits, bits, **dense, FIRST=False)
    compile_for(generation, kernels.count_ties, bits, **dense)
    compile_for(generation, kernels.write_samples, bits, **dense, CHUNKS=16)
    compile_for(generation, kernels.mask, bits, WIDTH=width, BLOCK=block)
"""


@pytest.mark.slow
def test_interpreted_kernels_are_the_definition():
    """The suite of test_projections.py over the Triton path, in a process that was started for the interpreter."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "triton", "test_projections.py"]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]


WITHOUT_A_MASK = """
import torch, triton.language as tl
from sparse_plugin.projections import eager, gpu, triton_kernels
triton_kernels.HISTOGRAM_TAKES_A_MASK = tl.constexpr(False)
kernels = gpu.TritonKernels()
torch.manual_seed(0)
for dtype in (torch.float32, torch.float16):
    for shape, k in (((2, 5, 37, 3), 40), ((1, 3, 70, 70), 9000), ((3, 7, 1, 2), 13)):
        for gamma in (torch.randn(shape).round(decimals=1).to(dtype), torch.zeros(shape, dtype=dtype)):
            assert torch.equal(kernels.l0(gamma, k), eager.l0(gamma, k))
"""


def test_histograms_without_a_mask_count_the_same():
    """As Triton 3.2 has them."""
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", WITHOUT_A_MASK], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("generation", [80, 90])
def test_kernels_compile_ahead_of_time(generation, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    (tmp_path / "aot.py").write_text(AHEAD_OF_TIME)
    environment |= {"TRITON_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(HERE.parents[1])}
    command = [sys.executable, str(tmp_path / "aot.py"), str(generation)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.gpu
def test_on_a_gpu(monkeypatch):
    from sparse_plugin.projections import dispatch, eager, project_channels, project_global, project_needles

    assert dispatch.BACKENDS["cuda"].kernels() is not None, dispatch.BACKENDS["cuda"].why
    gamma = torch.randn(4, 96, 33, 31, device="cuda")
    for layout in (gamma, gamma.to(memory_format=torch.channels_last), gamma.transpose(2, 3)):
        assert torch.equal(project_needles(layout, 24), eager.l0_inf(layout, 24))
        assert torch.equal(project_global(layout, 0.25), eager.l0(layout, round(0.25 * gamma[0].numel())))
        assert torch.equal(project_channels(layout, 100), eager.l0_channel(layout, 100))
    large = torch.randn(2, 3, 101, 99, device="cuda")
    assert torch.equal(project_channels(large, 0.25), eager.l0_channel(large, 2499))
