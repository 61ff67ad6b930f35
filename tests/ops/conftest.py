import pytest

from minillm import kernels_info


@pytest.fixture(params=["numpy", "cython"], scope="session")
def kernels(request):
    """Each twin in turn; where the compiled one is missing, its tests are skipped."""
    if request.param == "cython" and kernels_info()["available"] == ["numpy"]:
        pytest.skip("the compiled kernels are not built")
    return request.param
