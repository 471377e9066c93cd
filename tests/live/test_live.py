"""Real providers: everybody whose key is in the environment, a few short calls each. `./test --live` runs this."""

import pytest
from live import Gateway, call_is_made_again, numbers_go_on, providers

NOBODY = [provider for provider in providers() if provider.why_skipped]
ROWS = [(provider, model) for provider in providers() if not provider.why_skipped for model in provider.models]


@pytest.fixture(scope="module", params=ROWS or [None], ids=lambda row: f"{row[0].name}/{row[1]}" if row else "nobody")
def live(request, tmp_path_factory):
    if not request.param:
        pytest.skip("nobody's key is in the environment: nothing was run live")
    provider, model = request.param
    with Gateway(tmp_path_factory.mktemp("live"), provider, model) as gateway:
        yield gateway, provider.dialect


def test_text_goes_on(live):
    gateway, dialect = live
    print("went on by", numbers_go_on(gateway, dialect, "cut-in-text"))


def test_text_that_had_hardly_begun_goes_on(live):
    gateway, dialect = live
    print("went on by", numbers_go_on(gateway, dialect, "cut-at-once"))


def test_a_tool_call_is_made_again(live):
    gateway, dialect = live
    call_is_made_again(gateway, dialect)


@pytest.mark.parametrize("provider", NOBODY, ids=lambda provider: provider.name)
def test_nobody_was_asked(provider):
    pytest.skip(provider.why_skipped)
