"""Answers that break off at the first target, and what a caller is to have of them in the end."""

import contextlib
import json
from dataclasses import dataclass, field

from samples import Forecast

TEXT = (
    "The harbour is quiet. Seven “lanterns” swing — 漢字 and 🦊 wait.\n\n| ferry | hour |\n| --- | --- |\n"
    "| north | 7:30 |\n\nNobody counts them twice, for the ferry returns at dawn. Then the maps are folded, "
    "and that is all there is to say about it."
)
REASONING = "Let me think about the harbour first. There is a ferry, and it has an hour. So I shall say when."
FORECAST = {
    "city": "Paris",
    "days": 3,
    "wind": {"speed": 4.5, "from_the_sea": True},
    "warnings": ["gusts “of note”", "früh Nebel"],
    "note": None,
}
PARIS = ("get_weather", {"city": "Paris", "days": 2})
OSLO = ("get_weather", {"city": "Oslo", "days": 5})


@dataclass(frozen=True)
class Break:
    """One answer, and where its first provider breaks off."""

    name: str
    fault: str
    text: str = ""
    reasoning: str = ""
    calls: tuple = ()
    # The request carries the schema of a forecast.
    structured: bool = False
    # Nothing of it is shown before the break: it is held until it is complete.
    held: bool = False
    # Signed thoughts have been shown whole by then.
    after_thoughts: bool = False

    @property
    def answer(self):
        """What both providers are told to say."""
        script = {"calls": [{"name": name, "arguments": arguments} for name, arguments in self.calls]}
        if self.text:
            script["text"] = self.text
        if self.reasoning:
            script["reasoning"] = self.reasoning
        return script


@dataclass
class Heard:
    """What an SDK makes of a stream, its own accumulation where it has one."""

    text: str = ""
    reasoning: str = ""
    calls: list = field(default_factory=list)
    finish: str = ""
    headers: dict = field(default_factory=dict)
    parsed: Forecast | None = None


def length(call):
    """Bytes of a call's arguments, as the provider writes them."""
    return len(json.dumps(call[1], separators=(",", ":"), ensure_ascii=False).encode())


def texts():
    for by in ("reset", "close", "error"):
        yield Break(f"text-{by}", f"cut_after_text:bytes=90,by={by}", text=TEXT)
    # The first letters, inside a character, inside a table, before the last letter.
    for at in (3, 25, 130, len(TEXT.encode()) - 1):
        yield Break(f"text-at-{at}", f"cut_after_text:bytes={at},by=reset", text=TEXT)
    yield Break("text-torn-event", "cut_after_text:bytes=60,by=reset,event=torn", text=TEXT)


def others():
    schema = json.dumps(FORECAST, ensure_ascii=False)
    both = (PARIS, OSLO)
    thoughtful = {"reasoning": REASONING, "after_thoughts": True}
    return [
        Break("call", "cut_after_arguments:bytes=12,by=reset", calls=(PARIS,), held=True),
        Break("call-orderly", "cut_after_arguments:bytes=12,by=close", calls=(PARIS,), held=True),
        Break("parallel-first", "cut_after_arguments:bytes=9,by=reset", calls=both, held=True),
        Break("parallel-second", f"cut_after_arguments:bytes={length(PARIS) + 9},by=reset", calls=both, held=True),
        Break("parallel-between", f"cut_after_arguments:bytes={length(PARIS)},by=reset", calls=both, held=True),
        Break("text-of-a-call", "cut_after_text:bytes=70,by=reset", text=TEXT, calls=(PARIS,)),
        Break("call-after-text", "cut_after_arguments:bytes=12,by=reset", text=TEXT, calls=(PARIS,)),
        Break("schema", "cut_after_text:bytes=40,by=reset", text=schema, structured=True, held=True),
        Break("schema-orderly", "cut_after_text:bytes=95,by=close", text=schema, structured=True, held=True),
        Break("reasoning", "cut_after_reasoning:bytes=40,by=reset", text=TEXT, reasoning=REASONING),
        Break("text-after-reasoning", "cut_after_text:bytes=90,by=reset", text=TEXT, **thoughtful),
        Break("call-after-reasoning", "cut_after_arguments:bytes=9,by=reset", calls=(PARIS,), **thoughtful),
    ]


BREAKS = [*texts(), *others()]


def check(heard, broken):
    """The answer is whole, and said once."""
    assert heard.text == broken.text
    assert heard.calls == [*broken.calls]
    if broken.structured:
        assert heard.parsed == Forecast.model_validate(FORECAST)
    # Thoughts cannot be gone on with: the next target's own follow those of the first, where it shows any.
    first = heard.reasoning.removesuffix(REASONING)
    assert REASONING.startswith(first)
    assert broken.reasoning or not heard.reasoning


@contextlib.contextmanager
def breaking(stack, broken, primary, fallback):
    """The first provider breaks off and the second says the same; gives the model that has both as targets."""
    first, second = stack.bad[primary], stack.up[fallback]
    script = {"answer": broken.answer}
    try:
        # At this pace the first words have been passed on when the break comes.
        pace = {"first_token": "0s", "interval": "1ms"}
        first.behave({**script, "pace": pace, "faults": [{"fault": broken.fault}]})
        second.behave({**script, "pace": {"first_token": "0s", "interval": "0s"}})
        yield f"bad-{primary}-then-{fallback}"
    finally:
        first.behave({})
        second.behave({})
