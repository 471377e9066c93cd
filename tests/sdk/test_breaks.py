"""Streams that break after something of them was shown, as the official SDKs for Python see them."""

import pytest
from breaks import BREAKS, breaking, check
from readers import READERS
from stack import SERVED, UPSTREAMS

# What an SDK warns of is not well-formed.
pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(params=READERS)
def reader(request, stack):
    return READERS[request.param](stack.open.url)


@pytest.fixture(params=["helper", "raw"])
def way(request):
    """By the SDK's own accumulating helper, or event by event."""
    return request.param


@pytest.mark.parametrize("fallback", UPSTREAMS)
@pytest.mark.parametrize("primary", UPSTREAMS)
@pytest.mark.parametrize("broken", BREAKS, ids=lambda broken: broken.name)
def test_a_stream_that_breaks_goes_on(stack, reader, way, broken, primary, fallback):
    read = getattr(reader, way)
    with breaking(stack, broken, primary, fallback) as model:
        earlier = len(stack.bad[primary].calls(SERVED[primary]))
        if broken.after_thoughts and primary == "anthropic":
            # The signature is of one answer of one model.
            with pytest.raises(reader.ERROR, match="stream broke after part of the answer was sent"):
                read(model, broken)
            return
        heard = read(model, broken)
        calls = stack.bad[primary].calls(SERVED[primary])[earlier:]
    assert [call["faults"] for call in calls] == [[broken.fault]], "the first target broke off once"
    nothing_shown = broken.held or (not broken.text and primary in reader.UNSEEN)
    began = f"up-{fallback}" if nothing_shown else f"bad-{primary}"
    assert heard.headers["x-mainstay-provider"] == began, "who began what is shown"
    check(heard, broken)
