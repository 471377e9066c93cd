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


BY_NAME = {broken.name: broken for broken in BREAKS}


@pytest.fixture(params=READERS)
def told(request, stack):
    """Makes a reader that sends these headers with its requests."""
    return lambda **headers: READERS[request.param](
        stack.open.url, {f"x-mainstay-{name}": value for name, value in headers.items()}
    )


@pytest.mark.parametrize("primary", UPSTREAMS)
def test_the_story_at_the_end_upsets_nobody(stack, told, way, primary):
    broken = BY_NAME["text-reset"]
    reader = told(trace="1")
    if isinstance(reader, READERS["gemini"]):
        # A chat keeps no turn in its curated history that had an event without a candidate, as the story's is.
        way = "raw"
    with breaking(stack, broken, primary, "openai") as model:
        check(getattr(reader, way)(model, broken), broken)


@pytest.mark.parametrize("primary", UPSTREAMS)
def test_a_caller_who_wants_the_error_gets_it(stack, told, way, primary):
    broken = BY_NAME["text-reset"]
    reader = told(rescue="error")
    with (
        breaking(stack, broken, primary, "openai") as model,
        pytest.raises(reader.ERROR, match="stream broke after part of the answer was sent"),
    ):
        getattr(reader, way)(model, broken)


@pytest.mark.parametrize("primary", ["openai", "anthropic"])
def test_a_call_that_went_as_it_came_and_broke_is_an_error(stack, told, way, primary):
    broken = BY_NAME["call"]
    reader = told(release="early")
    with breaking(stack, broken, primary, "openai") as model:
        if isinstance(reader, READERS["gemini"]):
            # Gemini's calls have no parts: nothing of it was shown.
            check(getattr(reader, way)(model, broken), broken)
            return
        with pytest.raises(reader.ERROR, match="stream broke after part of the answer was sent"):
            getattr(reader, way)(model, broken)
