import pytest

from minillm._kernels import INSTRUCTION_SETS, kernels_info, select_kernels


@pytest.fixture(params=INSTRUCTION_SETS, scope="session")
def twin(request):
    """The Cython kernels of each instruction set that this machine has."""
    missing = kernels_info()["missing"]
    if request.param in missing:
        pytest.skip(f"{request.param}: {missing[request.param]}")
    return select_kernels(request.param)


@pytest.fixture(scope="session")
def original():
    return select_kernels("numpy")
