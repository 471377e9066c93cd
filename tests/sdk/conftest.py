"""What the tests of every SDK share."""

import os
import uuid

import pytest
from stack import UPSTREAMS, Stack

# SDKs read the environment; here they are to reach loopback and nothing else.
for name in list(os.environ):
    if name.upper().endswith(("_PROXY", "_API_KEY", "_BASE_URL", "_AUTH_TOKEN")):
        del os.environ[name]


@pytest.fixture(scope="session")
def stack():
    with Stack() as running:
        yield running


@pytest.fixture(params=UPSTREAMS)
def upstream(request):
    """The dialect of the provider behind the gateway."""
    return request.param


@pytest.fixture(params=["whole", "streamed"])
def streamed(request):
    """Whether the answer is streamed."""
    return request.param == "streamed"


@pytest.fixture
def broken(stack, upstream):
    """Gives the faulty provider its faults and says the model to ask for, which no other test has touched."""

    def breaks(*faults):
        stack.bad[upstream].set_faults(*faults)
        return f"bad-{upstream}/{uuid.uuid4().hex}"

    yield breaks
    stack.bad[upstream].set_faults()
