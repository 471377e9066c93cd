//! Texts: generated ones by kind, and a few whole answers.

use proptest::prelude::*;

/// Answers as models write them.
pub(crate) const ANSWERS: &[(&str, &str)] = &[
    (
        "prose",
        "A circuit breaker watches the calls to one target and stops sending more of them when too many fail. That \
protects two parties: the caller, who would otherwise wait for an answer that does not come, and the target, which \
gets the quiet it needs to recover. After a short rest the breaker lets a single probe through. If the probe succeeds, \
traffic returns step by step; if it fails, the rest is prolonged.\n\nThe hard part is to decide what counts as a \
failure. A refused connection surely does. A rate limit does not: the target is well, it merely wants fewer calls for \
a while. And a request that is malformed says nothing at all about the health of the one who rejects it.",
    ),
    (
        "markdown",
        "# Failover in practice\n\nThere are **three** questions to ask:\n\n1. *What* failed?\n2. *Whose* fault was \
it?\n3. *Who* can help?\n\n| fault | next step | health learns |\n|---|---|---|\n| `rate_limited` | other key | parked \
|\n| `overloaded` | next target | failure |\n| `auth_rejected` | other key, alert | key off |\n\n> Never present a cut \
stream as a finished one.\n\nSee [the guide](https://example.com/guide) for more. The numbers are defaults, and each \
one can be changed in the configuration.",
    ),
    (
        "code",
        "Here is the function:\n\n```rust\n/// Returns the next target that is well.\nfn next<'a>(targets: &'a [Target], \
now: Instant) -> Option<&'a Target> {\n    targets\n        .iter()\n        .filter(|target| target.breaker.admits(now))\n        \
.min_by_key(|target| target.in_flight())\n}\n```\n\nIt runs in linear time. With many targets you would keep a heap, \
but a chain of models is rarely longer than five, and a scan of five entries costs less than the bookkeeping does.",
    ),
    (
        "chinese",
        "断路器观察对某个目标的调用，当失败过多时就停止继续发送。这样可以保护双方：调用者不必等待一个永远不会到来的答复，\
而目标也得到了恢复所需的安静。短暂休息之后，断路器会放行一次探测。如果探测成功，流量便逐步恢复；如果失败，休息时间就会延长。\
困难之处在于判断什么才算失败：连接被拒绝当然算，而速率限制则不算，因为目标本身是健康的。",
    ),
    (
        "emoji",
        "Here's the plan 🚀:\n\n- 👩‍💻 write the code (naïve version first)\n- 🧪 test it — “quoted”, with curly \
marks\n- 👨‍👩‍👧‍👦 show it to the family 👍🏽\n- 🏳️‍🌈 ship it!\n\nAny questions? Then ask the café owner 🇫🇷, who knows it \
all… or so they say. Flags such as 🇩🇪🇯🇵🇧🇷 come in pairs, and e\u{301}tudes are written with combining marks here.",
    ),
];

fn joined(parts: impl Strategy<Value = String>, separator: &'static str) -> impl Strategy<Value = String> {
    prop::collection::vec(parts, 2..60).prop_map(move |parts| parts.join(separator))
}

/// Text in which no passage of any length comes twice but by chance.
pub(crate) fn ordinary() -> impl Strategy<Value = String> {
    let word = "[A-Z]{0,1}[a-z]{1,10}[,.;:!?]{0,1}";
    let emoji = prop::sample::select(vec!["👩‍💻", "👨‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "e\u{301}", "🇫🇷", "🚀", "ﷺ", "ñ"]);
    let mixed = (word, emoji, "[a-zäöüß]{1,9}").prop_map(|(a, b, c)| format!("{a}{b}{c}"));
    let line = (0usize..6, "[a-z_]{3,9}", "[a-z0-9_(),. ]{1,24}")
        .prop_map(|(depth, name, rest)| format!("{}{name} = {rest};", "    ".repeat(depth)));
    let row = prop::collection::vec("[a-z0-9 ]{2,12}", 3).prop_map(|cells| format!("| {} |", cells.join(" | ")));
    let table = prop::collection::vec(row, 1..20)
        .prop_map(|rows| format!("| a | b | c |\n|:-----|------|-----:|\n{}\n", rows.join("\n")));
    prop_oneof![
        joined(word, " "),
        joined(mixed, " "),
        joined("[一-龥]{4,20}[，。！]", ""),
        joined(line, "\n"),
        joined("[A-Z][a-z ]{5,60}\\.", "\r\n\r\n"),
        table,
    ]
}

/// Text that says the same again and again, somewhere or everywhere.
pub(crate) fn repetitive() -> impl Strategy<Value = String> {
    let unit = prop_oneof![
        Just("ha ".to_owned()),
        Just("哈".to_owned()),
        Just("-".to_owned()),
        Just("👩‍💻".to_owned()),
        Just("    }\n".to_owned()),
        Just("| same | row | again |\n".to_owned()),
        Just("=-".to_owned()),
        "[ab ]{1,40}",
        "[a-z ]{20,90}\n",
        "[一-龥]{1,6}。",
    ];
    let around = prop_oneof![Just(String::new()), "[A-Za-z ]{1,90}\n{0,1}", "[ab ]{1,20}"];
    (around.clone(), unit, 3usize..40, around, any::<bool>()).prop_map(|(before, unit, times, after, twice)| {
        let run = unit.repeat(times);
        if twice { format!("{before}{run}{after}{run}{after}") } else { format!("{before}{run}{after}") }
    })
}
