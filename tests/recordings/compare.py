"""Whether two views are the same answer, as far as the dialect of the second can say it.

`differences(source, target_dialect, target, drops)` lists what is not the same; empty means equal. What a dialect has
no place for is let go only where the report of dropped things names it.
"""

from dataclasses import replace

from readers import CONTEXT_FULL, FAILED, FILTERED, LENGTH, PAUSE, STOP

# Finish reasons a dialect has no word for, and the nearest one it has.
NEAREST = {
    "openai-chat": {CONTEXT_FULL: LENGTH, PAUSE: STOP},
    "anthropic-messages": {},
    "gemini": {CONTEXT_FULL: LENGTH, PAUSE: FAILED},
}


def differences(source, dialect, target, drops):
    found = []
    if bool(source.error) != bool(target.error):
        found.append(f"error: {source.error!r} and {target.error!r}")
    if source.error and target.error and not target.candidates and not any(c.said for c in source.candidates.values()):
        return found
    found += _candidates(source, dialect, target, drops)
    if not source.error:
        found += _usage(source.usage, target.usage, drops)
        if source.model and source.model != target.model:
            found.append(f"model: {source.model!r} and {target.model!r}")
    return found


def _candidates(source, dialect, target, drops):
    found = []
    wanted = dict(sorted(source.candidates.items()))
    if not wanted and source.blocked:
        # A blocked prompt has no candidate; elsewhere it is an answer that was filtered.
        finishes = [candidate.finish for candidate in target.candidates.values()]
        if not target.blocked and finishes != [FILTERED]:
            found.append(f"blocked prompt: {finishes}")
        return found
    if dialect == "anthropic-messages":
        for index in [index for index in wanted if index > 0]:
            del wanted[index]
            if f"candidates[{index}]" not in drops:
                found.append(f"candidate {index} is gone and not reported: {drops}")
    for index, candidate in wanted.items():
        other = target.candidates.get(index)
        if other is None:
            found.append(f"candidate {index} is missing")
            continue
        found += [f"candidate {index}: {what}" for what in _candidate(candidate, dialect, other, drops, source.error)]
    for index in set(target.candidates) - set(wanted):
        extra = target.candidates[index]
        if extra.said or extra.calls or extra.finish:
            found.append(f"candidate {index} is made up")
    return found


def _candidate(source, dialect, target, drops, broken):
    found = []
    if source.said != target.said:
        found.append(f"text: {source.said!r} and {target.said!r}")
    if dialect == "openai-chat" and source.refusal != target.refusal:
        found.append(f"refusal: {source.refusal!r} and {target.refusal!r}")
    if source.reasoning != target.reasoning:
        found.append(f"reasoning: {source.reasoning!r} and {target.reasoning!r}")
    if broken:
        # Calls that were not complete when the stream broke are shown by some SDKs only.
        return found
    if source.calls != target.calls and not _wrapped(source.calls, target.calls, drops):
        found.append(f"calls: {source.calls!r} and {target.calls!r}")
    wanted = NEAREST[dialect].get(source.finish, source.finish)
    if wanted != target.finish:
        found.append(f"finish: {wanted!r} and {target.finish!r}")
    return found


def _wrapped(source, target, drops):
    """Arguments that are no JSON object, where only objects can be said: inside one, and reported."""
    if [name for name, _ in source] != [name for name, _ in target] or not any("arguments" in d for d in drops):
        return False
    return all(
        a == b or (isinstance(b, dict) and not isinstance(a, dict) and list(b.values()) == [a])
        for (_, a), (_, b) in zip(source, target, strict=True)
    )


def _usage(source, target, drops):
    found = []
    if "usage.cached_tokens" in drops and source.cached > source.input:
        # Where cached tokens are a part of the input, there cannot be more of them.
        source = replace(source, cached=source.input)
    for count in ("input", "output", "cached", "reasoning"):
        stated, shown = getattr(source, count), getattr(target, count)
        # SDKs type some counts as plain integers: one that nobody stated is 0 there.
        if stated != shown and (stated or shown):
            found.append(f"usage.{count}: {stated} and {shown}")
    return found
