"""What `./test --live` does, with simulated providers in the places of the real ones."""

import dataclasses

import pytest
from live import NUMBERS, Gateway, call_is_made_again, numbers_go_on, providers
from stack import PREFIXES, Provider

# The row of the catalogue, a model of it, how the simulated provider goes on, and by which means it is to be joined.
CASES = {
    "openai": ("gpt-4.1-mini", "openai", "instructed", "anchor"),
    "anthropic": ("claude-sonnet-4-6", "anthropic", "instructed", "anchor"),
    "gemini": ("gemini-2.5-flash-lite", "gemini", "instructed", "anchor"),
    "mistral": ("mistral-small-latest", "openai", "native:way=prefix", "continued"),
}


@pytest.mark.parametrize("row", CASES)
def test_the_live_checks_pass_where_a_provider_goes_on(row, monkeypatch, tmp_path):
    model, speaks, continues, means = CASES[row]
    [provider] = [provider for provider in providers() if provider.name == row]
    monkeypatch.setenv(provider.keys[0], "sim")
    monkeypatch.delenv(f"MAINSTAY_LIVE_MODEL_{row.upper()}", raising=False)
    simulated = Provider(tmp_path, "provider", speaks)
    try:
        simulated.wait_until_ready()
        provider = dataclasses.replace(provider, base_url=simulated.url + PREFIXES[speaks])
        with Gateway(tmp_path, provider, model) as gateway:
            pace = {"interval": "1ms"}
            simulated.behave({"answer": {"text": "\n".join(NUMBERS)}, "continues": continues, "pace": pace})
            assert numbers_go_on(gateway, provider.dialect, "cut-in-text") == means
            numbers_go_on(gateway, provider.dialect, "cut-at-once")
            # A letter too many is seen.
            simulated.behave({"answer": {"text": "\n".join(NUMBERS) + "s"}, "continues": continues, "pace": pace})
            with pytest.raises(AssertionError):
                numbers_go_on(gateway, provider.dialect, "cut-in-text")
            call = {"name": "get_weather", "arguments": {"city": "Paris", "days": 2}}
            simulated.behave({"answer": {"calls": [call]}, "pace": pace})
            call_is_made_again(gateway, provider.dialect)
    finally:
        simulated.ask_to_stop()
        simulated.end()


def test_everybody_without_a_key_is_named(monkeypatch):
    for provider in providers():
        for key in provider.keys:
            monkeypatch.delenv(key, raising=False)
        assert provider.why_skipped == f"{provider.name}: no {' or '.join(provider.keys)} in the environment"
