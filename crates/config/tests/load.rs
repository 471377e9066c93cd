//! What configurations mean, and what is said of those that mean nothing.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use catalog::{Catalog, Moment, Rate, Ratio, Usd};
use config::{Environment, Loader};
use health::Health;
use routing::{Balance, Node, Quality, SpeedBy, Strategy};
use std::sync::Arc;
use support::{load, load_with, refused};

const OPENAI: &str = "providers:\n  openai: { keys: [\"${OPENAI_API_KEY}\"] }\n";

#[test]
fn the_example_configuration_is_valid() {
    let example = include_str!("../../../mainstay.example.yaml");
    let environment =
        [("OPENAI_API_KEY", "a"), ("ANTHROPIC_API_KEY", "b"), ("DEEPSEEK_API_KEY", "c"), ("SUPPORT_BOT_KEY", "d")];
    let snapshot = load_with(example, &environment, &Arc::new(Health::new(1))).unwrap();
    let names: Vec<_> = snapshot.models().map(|m| m.name.clone()).collect();
    assert_eq!(names, ["assistant", "bulk", "canary", "live-chat", "primary-chat"]);
    assert_eq!(snapshot.resolve("primary-chat").unwrap().targets[1].id, "anthropic/claude-sonnet-5");
}

#[test]
fn an_unknown_field_is_named_with_its_line_and_what_was_expected() {
    let error = refused(&format!("{OPENAI}models:\n  chat:\n    targets: [openai/gpt-5.1]\n    stratgy: weighted\n"));
    assert!(error.contains("stratgy") && error.contains("strategy"), "{error}");
    assert!(error.contains("mainstay.yaml") && error.contains('6'), "{error}");
}

#[test]
fn a_length_of_time_without_a_unit_is_refused_at_its_line() {
    let error = refused(&format!("{OPENAI}models:\n  chat:\n    targets: [openai/m]\n    timeouts: {{ idle: 10 }}\n"));
    assert!(error.contains("500ms") && error.contains('6'), "{error}");
}

#[test]
fn a_misspelt_provider_is_answered_with_the_near_one() {
    let error = refused(&format!("{OPENAI}models:\n  chat:\n    targets:\n      - openai/a\n      - opnai/b\n"));
    assert!(error.contains("did you mean `openai`") && error.contains("mainstay.yaml:7"), "{error}");
}

#[test]
fn a_shipped_provider_that_is_not_configured_says_what_to_add() {
    let error = refused(&format!("{OPENAI}models:\n  chat:\n    targets: [anthropic/claude-sonnet-5]\n"));
    assert!(error.contains("anthropic: { keys: [\"${ANTHROPIC_API_KEY}\"] }"), "{error}");
}

#[test]
fn an_unset_variable_is_named_at_its_line() {
    let error = refused("providers:\n  openai:\n    keys: [\"${NOT_SET_ANYWHERE}\"]\n");
    assert!(error.contains("NOT_SET_ANYWHERE is not set") && error.contains("mainstay.yaml:3"), "{error}");
}

#[test]
fn a_provider_without_a_key_says_how_to_give_it_one() {
    let error = load_with("providers:\n  groq: {}\n", &[], &Arc::new(Health::new(1))).err().unwrap();
    assert!(error.contains("GROQ_API_KEY") && error.contains("keyless"), "{error}");
}

#[test]
fn a_provider_is_added_at_run_time_without_rust() {
    let source = "providers:\n  in-house: { dialect: openai-chat, base_url: \"http://10.0.0.7:8000/v1\", keyless: true, \
                  quirks: { output_cap: max_tokens } }\nmodels:\n  chat: { targets: [in-house/llama] }\n";
    let model = load(source).unwrap().resolve("chat").unwrap();
    assert_eq!(model.targets[0].provider.base_url, "http://10.0.0.7:8000/v1");
    assert_eq!(model.targets[0].profile.output_cap, dialect::profile::OutputCap::MaxTokens);
}

#[test]
fn an_address_beyond_loopback_needs_keys_or_an_explicit_word() {
    let error = refused("listen: 0.0.0.0:4000\n");
    assert!(error.contains("allow_open: true"), "{error}");
    assert!(load("listen: 0.0.0.0:4000\nallow_open: true\n").is_ok());
    assert!(load("listen: 0.0.0.0:4000\nkeys: [{ name: a, key: b }]\n").is_ok());
    assert!(load("listen: \"[::1]:4000\"\n").is_ok());
}

#[test]
fn a_key_is_given_plain_or_as_its_hash_and_never_both() {
    let hash = "fb8e20fc2e4c3f248c60c39bd652f3c1347298bb977b8b4d5903b85055620603"; // of "ab"
    let snapshot = load(&format!("keys: [{{ name: a, key_sha256: {hash} }}]")).unwrap();
    let same = load("keys: [{ name: a, key: ab }]").unwrap();
    assert_eq!(snapshot.keys, same.keys);
    assert!(refused("keys: [{ name: a }]").contains("`key` or `key_sha256`"));
    assert!(refused(&format!("keys: [{{ name: a, key: ab, key_sha256: {hash} }}]")).contains("one of them"));
    assert!(refused("keys: [{ name: a, key_sha256: xyz }]").contains("64 hex digits"));
}

#[test]
fn the_same_target_twice_needs_a_label() {
    let error = refused(&format!("{OPENAI}models:\n  chat:\n    targets: [openai/m, openai/m]\n"));
    assert!(error.contains("label"), "{error}");
    let labelled = format!(
        "{OPENAI}models:\n  chat:\n    targets:\n      - openai/m\n      - {{ target: openai/m, label: eu, region: eu }}\n"
    );
    assert_eq!(load(&labelled).unwrap().resolve("chat").unwrap().targets[1].id, "openai/m#eu");
}

#[test]
fn an_injected_fault_is_refused_unless_the_gateway_allows_it() {
    let source = format!(
        "{OPENAI}models:\n  chat:\n    targets:\n      - {{ target: openai/m, inject: {{ fault: unavailable_503 }} }}\n"
    );
    assert!(refused(&source).contains("--allow-injection"));
}

#[test]
fn health_survives_a_reload() {
    let health = Arc::new(Health::new(1));
    let source = format!("{OPENAI}models:\n  chat: {{ targets: [openai/gpt-5.1] }}\n");
    let environment = [("OPENAI_API_KEY", "sk-1")];
    let before = load_with(&source, &environment, &health).unwrap().resolve("chat").unwrap();
    let after = load_with(&source, &environment, &health).unwrap().resolve("chat").unwrap();
    assert!(Arc::ptr_eq(&before.targets[0].health, &after.targets[0].health));
    assert!(Arc::ptr_eq(&before.targets[0].credentials[0].health, &after.targets[0].credentials[0].health));
}

#[test]
fn a_model_is_reached_by_provider_and_id_and_by_an_id_its_provider_is_known_for() {
    let snapshot = load(OPENAI).unwrap();
    assert_eq!(snapshot.resolve("openai/some-model").unwrap().targets[0].model, "some-model");
    assert_eq!(snapshot.resolve("gpt-5.1").unwrap().targets[0].id, "openai/gpt-5.1");
    let unknown = snapshot.resolve("nobody/x").unwrap_err().to_string();
    assert!(unknown.contains("nobody/x") && unknown.contains("openai"), "{unknown}");
    for tricky in ["openai/../admin", "openai/a b", "openai/", "openai/a\nb", "openai/a?b"] {
        assert!(snapshot.resolve(tricky).is_err(), "{tricky}");
    }
}

#[test]
fn invented_model_names_do_not_fill_the_memory() {
    let snapshot = load(OPENAI).unwrap();
    for n in 0..5000 {
        assert!(snapshot.resolve(&format!("openai/m{n}")).is_ok());
    }
    assert!(snapshot.resolve("openai/m0").is_ok());
}

#[test]
fn the_schema_describes_every_top_level_field() {
    let schema = config::schema();
    let fields = schema["properties"].as_object().unwrap();
    for field in ["listen", "providers", "models", "keys", "limits", "timeouts", "health", "drain"] {
        assert!(fields.contains_key(field), "{field}");
    }
    assert_eq!(schema["additionalProperties"], false);
}

#[test]
fn providers_are_found_in_the_environment() {
    let catalog = Catalog::builtin().unwrap();
    let health = Arc::new(Health::new(1));
    let environment: Environment =
        [("ANTHROPIC_API_KEY", "k"), ("OPENAI_API_KEY", "")].map(|(n, v)| (n.to_owned(), v.to_owned())).into();
    let loader = Loader {
        catalog: &catalog,
        health: &health,
        ledger: &Arc::default(),
        environment: &environment,
        allow_injection: false,
    };
    let found = loader.discover().unwrap();
    let snapshot = loader.load("the environment", &found).unwrap();
    let names: Vec<_> = snapshot.providers().map(|p| p.name.clone()).collect();
    assert_eq!(names, ["anthropic"]);
    let nothing = Environment::new();
    assert_eq!(Loader { environment: &nothing, ..loader }.discover(), None);
}

#[test]
fn answers_are_used_again_only_where_the_configuration_says_so() {
    let snapshot = load(&format!("{OPENAI}models:\n  chat: {{ targets: [openai/m] }}\n")).unwrap();
    assert_eq!(**snapshot.reuse("chat"), config::Reuse::default());
    assert_eq!(**snapshot.reuse("openai/other"), config::Reuse::default());
    assert_eq!(snapshot.reuse_limits, config::ReuseLimits::default());
}

#[test]
fn a_cache_has_a_time_to_live_and_stale_answers_are_kept_where_they_are_asked_for() {
    let of = |lines: &str| {
        let snapshot = load(&format!("{OPENAI}models:\n  chat:\n    targets: [openai/m]\n{lines}")).unwrap();
        let reuse = snapshot.reuse("chat");
        (reuse.cache.map(|cache| (cache.ttl.as_secs(), cache.stale_for.as_secs())), reuse.when_exhausted.clone())
    };
    let stale = config::WhenExhausted::StaleCache;
    assert_eq!(of("    cache: {}\n"), (Some((600, 0)), vec![]));
    assert_eq!(of("    cache: { ttl: 1m }\n    when_exhausted: [error]\n"), (Some((60, 0)), vec![]));
    assert_eq!(of("    cache: {}\n    when_exhausted: [stale_cache]\n"), (Some((600, 86_400)), vec![stale]));
    assert_eq!(of("    when_exhausted: [stale_cache, error]\n"), (Some((0, 86_400)), vec![stale]));
}

#[test]
fn what_stands_at_the_top_holds_for_every_model_that_says_nothing_else() {
    let source = format!(
        "{OPENAI}coalesce: deterministic\nqueue: {{ size: 7, keep_alive: 5s }}\ncache: {{ memory: 1MiB }}\n\
         idempotency: {{ window: 1h, memory: 2MiB }}\nmodels:\n  a: {{ targets: [openai/m] }}\n  \
         b: {{ targets: [openai/m], coalesce: off, queue: {{ size: 9 }} }}\n"
    );
    let snapshot = load(&source).unwrap();
    let (a, b) = (snapshot.reuse("a"), snapshot.reuse("b"));
    assert_eq!((a.coalesce, a.queue.size), (config::Coalesce::Deterministic, 7));
    assert_eq!((b.coalesce, b.queue.size, b.queue.keep_alive.unwrap().as_secs()), (config::Coalesce::Off, 9, 5));
    assert_eq!(snapshot.reuse("openai/x").coalesce, config::Coalesce::Deterministic);
    let limits = snapshot.reuse_limits;
    assert_eq!((limits.cache_memory, limits.idempotency_memory), (1 << 20, 2 << 20));
    assert_eq!(limits.idempotency_window.as_secs(), 3600);
}

#[test]
fn what_is_never_done_with_answers_is_refused_at_its_line() {
    for (lines, line, said) in [
        ("    when_exhausted: []\n", 6, "no step"),
        ("    when_exhausted: [error, queue]\n", 6, "nothing after `error`"),
        ("    when_exhausted: [queue, queue]\n", 6, "twice"),
        ("    when_exhausted: [queue, panic]\n", 6, "stale_cache"),
        ("    cache: { ttl: 1m, stale_for: 1h }\n", 6, "`when_exhausted` to list it"),
        ("    when_exhausted: [stale_cache]\n    cache: { stale_for: 0s }\n", 7, "keeps nothing"),
        ("    cache: { ttl: 0s }\n", 6, "keeps nothing"),
        ("    queue: { size: 0 }\n", 6, "at least 1"),
        ("    queue: { keep_alive: 10ms }\n", 6, "at least 1s"),
        ("    coalesce: sometimes\n", 6, "deterministic"),
    ] {
        let error = refused(&format!("{OPENAI}models:\n  chat:\n    targets: [openai/m]\n{lines}"));
        let place = [format!("mainstay.yaml:{line}"), format!("line {line} ")];
        assert!(error.contains(said) && place.iter().any(|place| error.contains(place)), "{lines}: {error}");
    }
    let error = refused(&format!("{OPENAI}queue: {{ size: 0 }}\n"));
    assert!(error.contains("at least 1") && error.contains("mainstay.yaml:3"), "{error}");
}

const JUDGED: &str = "providers:\n  sim: { dialect: openai-chat, base_url: \"http://127.0.0.1:1/v1\", keyless: true }\nmodels:\n  judge:\n    targets: [sim/j]\n  chat:\n    targets: [sim/m]\n";

#[test]
fn an_empty_answer_and_broken_json_are_looked_for_by_default_and_the_rest_where_it_is_asked_for() {
    let settings = |lines: &str| {
        let snapshot = load(&format!("{JUDGED}{lines}")).unwrap();
        let settings = snapshot.resolve("chat").unwrap().settings.clone();
        (settings.checks, settings.evaluate)
    };
    assert_eq!(settings(""), (routing::Checks::default(), None));
    let (checks, _) = settings("    checks: { empty: false, json: off, truncated: on, refusal: true }\n");
    let all = routing::Checks { empty: false, json: false, truncated: true, refusal: true };
    assert_eq!(checks, all);
    let (_, evaluate) = settings("    evaluate: { model: judge }\n");
    let evaluate = evaluate.unwrap();
    assert_eq!(evaluate.criteria, routing::Criterion::ALL);
    assert_eq!((evaluate.threshold, evaluate.timeout.as_secs()), (0.7, 5));
    let (_, direct) = settings("    evaluate: { model: sim/any, criteria: [safety], threshold: 1, timeout: 2s }\n");
    let direct = direct.unwrap();
    assert_eq!((direct.threshold, direct.timeout.as_secs(), direct.criteria.len()), (1.0, 2, 1));
}

#[test]
fn an_evaluation_that_cannot_be_made_is_refused_at_its_line() {
    for (lines, line, words) in [
        ("    evaluate: { model: nobody }\n", 8, "there is no model `nobody`"),
        ("    evaluate: { model: judge, threshold: 1.5 }\n", 8, "1 at most"),
        ("    evaluate: { model: judge, threshold: 0 }\n", 8, "more than 0"),
        ("    evaluate: { model: judge, criteria: [] }\n", 8, "no `criteria`"),
        ("    evaluate: { model: judge, criteria: [safety, safety] }\n", 8, "safety twice"),
        ("    evaluate: { model: judge, criteria: [humour] }\n", 8, "coherence"),
        ("    evaluate: { model: judge, timeout: 0s }\n", 8, "waits for no score"),
        ("    evaluate: { threshold: 0.5 }\n", 8, "model"),
        ("    checks: { refusals: on }\n", 8, "refusal"),
    ] {
        let error = refused(&format!("{JUDGED}{lines}"));
        assert!(error.contains(words), "{lines}: {error}");
        assert!(error.contains(&format!(":{line}")) || error.contains(&format!("line {line}")), "{lines}: {error}");
    }
}

#[test]
fn the_prices_of_a_target_win_over_the_catalogue_s_and_hold_for_it_alone() {
    let source = format!(
        "{OPENAI}models:\n  chat:\n    targets:\n      - openai/gpt-5.1\n      - {{ target: openai/gpt-5.1, label: deal, \
         prices: {{ input: 1, output: $8.5, when: [{{ from: '22:00', to: '06:00', output: 4 }}] }} }}\n      - openai/unheard-of\n"
    );
    let model = load(&source).unwrap().resolve("chat").unwrap();
    let output = |target: usize, at: &str| {
        let prices = model.targets[target].facts.prices.as_ref()?;
        Some(prices.at(Some(Moment::parse(at).unwrap()), 10).output.to_string())
    };
    assert_eq!(output(0, "2026-11-16 23:00").as_deref(), Some("$10.00"));
    assert_eq!(output(1, "2026-11-16 12:00").as_deref(), Some("$8.50"));
    assert_eq!(output(1, "2026-11-16 23:00").as_deref(), Some("$4.00"));
    assert_eq!(output(2, "2026-11-16 23:00"), None, "unknown stays unknown");
}

#[test]
fn a_price_that_cannot_be_used_is_refused_at_its_line() {
    let with = |prices: &str| {
        refused(&format!("{OPENAI}models:\n  chat:\n    targets:\n      - target: openai/m\n        prices:\n{prices}"))
    };
    let half = with("          input: 1\n");
    assert!(half.contains("output") && half.contains("mainstay.yaml"), "{half}");
    let negative = with("          input: -1\n          output: 1\n");
    assert!(negative.contains("per million tokens") && negative.contains(":8"), "{negative}");
    let open =
        with("          input: 1\n          output: 1\n          when:\n            - { from: '16:30', input: 2 }\n");
    assert!(open.contains("`from` and `to`") && open.contains("mainstay.yaml:11"), "{open}");
    let row = refused(
        "providers:\n  openai:\n    keys: [a]\n    models:\n      - { id: a-1 }\n      - { id: m-1.5, prices: { input: 1, output: 1, \
         when: [{ input: 2 }] } }\n",
    );
    assert!(row.contains("no condition") && row.contains("mainstay.yaml:6"), "{row}");
}

#[test]
fn what_was_learned_of_money_survives_a_reload() {
    let (catalog, health, ledger) = (Catalog::builtin().unwrap(), Arc::new(Health::new(1)), Arc::default());
    let environment = Environment::from([("OPENAI_API_KEY".to_owned(), "sk-1".to_owned())]);
    let loader = Loader {
        catalog: &catalog,
        health: &health,
        ledger: &ledger,
        environment: &environment,
        allow_injection: false,
    };
    let source = format!("{OPENAI}models:\n  chat: {{ targets: [openai/m] }}\n");
    let load = || loader.load("mainstay.yaml", &source).unwrap().resolve("chat").unwrap();
    let before = load();
    (0..20).for_each(|_| before.ledger.observe_output(300));
    (0..20).for_each(|_| before.targets[0].ledger.observe_cached(500, 1_000));
    assert_eq!(load().ledger.usual_output(), Some(300));
    assert_eq!(load().targets[0].ledger.usually_cached(1_000), 500);
}

#[test]
fn a_guard_of_a_target_stands_in_for_its_model_s() {
    let source = format!(
        "{OPENAI}models:\n  chat:\n    max_price: 0.05\n    max_price_ratio: 150%\n    targets:\n      - openai/m\n      \
         - {{ target: openai/n, max_price: {{ input: 3, output: $15 }}, max_price_ratio: 2, spend: {{ limit: $5, window: 1h }} }}\n"
    );
    let model = load(&source).unwrap().resolve("chat").unwrap();
    let [first, second] = [0, 1].map(|target| model.targets[target].guards);
    assert_eq!((first.max_price.unwrap().request, first.max_price_ratio), (Usd::parse("0.05"), Ratio::parse("1.5")));
    assert_eq!(first.spend, None);
    let max = second.max_price.unwrap();
    assert_eq!((max.request, max.input, max.output), (None, Rate::parse("3"), Rate::parse("15")));
    assert_eq!(second.max_price_ratio, Ratio::parse("2"));
    assert_eq!(second.spend.unwrap().window, std::time::Duration::from_secs(3_600));
}

#[test]
fn a_guard_that_guards_nothing_is_refused_at_its_line() {
    for (line, said) in [
        ("max_price: {}", "limits nothing"),
        ("max_price: dear", "an amount of US dollars"),
        ("max_price: { requests: 1 }", "requests"),
        ("max_price_ratio: 0", "more than 0"),
        ("max_price_ratio: $2", "150%"),
        ("spend: { limit: 0, window: 1h }", "`limit` is 0"),
        ("spend: { limit: 5, window: 0s }", "`window` is no time"),
        ("spend: { limit: 5 }", "window"),
    ] {
        let error = refused(&format!(
            "{OPENAI}models:\n  chat:\n    targets:\n      - openai/m\n      - target: openai/n\n        weight: 2\n        {line}\n"
        ));
        assert!(
            error.contains(said) && error.contains("mainstay.yaml:9") || error.contains("line 9"),
            "{line}: {error}"
        );
    }
}

#[test]
fn a_strategy_is_a_name_or_has_options() {
    let of = |strategy: &str| {
        let source = format!("{OPENAI}models:\n  chat:\n    strategy: {strategy}\n    targets: [openai/m]\n");
        load(&source).unwrap().resolve("chat").unwrap().settings.strategy
    };
    assert_eq!(of("cheapest"), Strategy::Cheapest);
    assert_eq!(of("fastest"), Strategy::Fastest(SpeedBy::FirstToken));
    assert_eq!(of("{ fastest: { by: throughput } }"), Strategy::Fastest(SpeedBy::Throughput));
    assert_eq!(of("balanced"), Strategy::Balanced(Balance { price: 1, speed: 1, reliability: 1, quality: 1 }));
    let balance = Balance { price: 3, speed: 0, reliability: 1, quality: 1 };
    assert_eq!(of("{ balanced: { price: 3, speed: 0 } }"), Strategy::Balanced(balance));
}

#[test]
fn a_quality_is_of_the_model_s_task_and_unknown_where_nobody_states_it() {
    let source = format!(
        "{OPENAI}models:\n  chat:\n    task: chat\n    min_quality: 0.7\n    targets:\n      - {{ target: openai/m, quality: {{ chat: \
         0.8, code: 0.2 }} }}\n      - {{ target: openai/n, quality: 0.75 }}\n      - {{ target: openai/o, quality: {{ code: 1 }} }}\n      \
         - openai/p\n"
    );
    let model = load(&source).unwrap().resolve("chat").unwrap();
    let qualities: Vec<_> = model.targets.iter().map(|target| target.quality).collect();
    assert_eq!(qualities, [Quality::new(0.8), Quality::new(0.75), None, None]);
    assert_eq!(model.settings.min_quality, Quality::new(0.7));
}

#[test]
fn a_strategy_and_a_quality_that_mean_nothing_are_refused_at_their_line() {
    for (line, said) in [
        ("strategy: cheepest", "cheapest"),
        ("strategy: { quickest: {} }", "fastest"),
        ("strategy: { fastest: { by: luck } }", "first_token"),
        ("strategy: {}", "one of `weighted`, `fastest` and `balanced`"),
        ("strategy: { balanced: { price: 0, speed: 0, reliability: 0, quality: 0 } }", "nothing counts"),
        ("min_quality: 1.5", "expected 0 to 1"),
        ("min_quality: 0.9", "no target is known to reach 0.9"),
        ("task: chat", "no target states its quality by task"),
    ] {
        let error = refused(&format!(
            "{OPENAI}models:\n  chat:\n    {line}\n    targets:\n      - {{ target: openai/m, quality: 0.8 }}\n"
        ));
        let is_there = error.contains("mainstay.yaml:5") || error.contains("line 5");
        assert!(error.contains(said) && is_there, "{line}: {error}");
    }
    for (quality, said) in
        [("{ chat: 0.8 }", "the model has none"), ("2", "expected 0 to 1"), ("good", "a number from 0 to 1")]
    {
        let error = refused(&format!(
            "{OPENAI}models:\n  chat:\n    targets:\n      - target: openai/m\n        quality: {quality}\n"
        ));
        let is_there = error.contains("mainstay.yaml:7") || error.contains("line 7");
        assert!(error.contains(said) && is_there, "{quality}: {error}");
    }
}

#[test]
fn sessions_are_off_until_they_are_asked_for() {
    use routing::{Sessions, Stickiness};
    let sessions = |line: &str| {
        let source = format!("{OPENAI}models:\n  chat:\n    targets: [openai/gpt-5.1]\n{line}");
        load(&source).unwrap().resolve("chat").unwrap().settings.sessions
    };
    let five_minutes = Sessions { ttl: std::time::Duration::from_secs(300), on_fault: Stickiness::Move };
    for (line, expected) in [
        ("", None),
        ("    sessions: off\n", None),
        ("    sessions: false\n", None),
        ("    sessions: on\n", Some(five_minutes)),
        ("    sessions: true\n", Some(five_minutes)),
        ("    sessions: {}\n", Some(five_minutes)),
        (
            "    sessions: { ttl: 1h, on_fault: retry_then_move }\n",
            Some(Sessions { ttl: std::time::Duration::from_secs(3_600), on_fault: Stickiness::RetryThenMove }),
        ),
    ] {
        assert_eq!(sessions(line), expected, "{line}");
    }
    for (line, said) in [
        ("sessions: sometimes", "`on`, `off`, or a mapping"),
        ("sessions: { ttl: 0s }", "expected 1s to 24h"),
        ("sessions: { on_fault: panic }", "retry_then_move"),
        ("sessions: { tll: 1h }", "ttl"),
    ] {
        let error = refused(&format!("{OPENAI}models:\n  chat:\n    targets: [openai/gpt-5.1]\n    {line}\n"));
        let is_there = error.contains("mainstay.yaml:6") || error.contains("line 6");
        assert!(error.contains(said) && is_there, "{error}");
    }
}

#[test]
fn a_model_may_be_a_target_of_another_and_brings_its_strategy_and_its_targets() {
    let source = format!(
        "{OPENAI}models:\n  all:\n    max_price: 1\n    targets:\n      - {{ target: deployments, weight: 2, why: ours }}\n      - openai/last\n  \
         deployments:\n    strategy: weighted\n    min_quality: 0.5\n    max_price: 2\n    targets:\n      - {{ target: openai/a, weight: 3, \
         quality: 0.9 }}\n      - openai/b\n  openai/a: {{ targets: [openai/a] }}\n  top: {{ strategy: cheapest, targets: [openai/x, all] }}\n"
    );
    let snapshot = load(&source).unwrap();
    let all = snapshot.resolve("all").unwrap();
    let ids: Vec<_> = all.targets.iter().map(|target| target.id.as_str()).collect();
    assert_eq!(ids, ["openai/a", "openai/b", "openai/last"]);
    let Node::Group(group) = &all.nodes[0] else { panic!("{:?}", all.nodes) };
    assert_eq!((&*group.name, group.strategy, group.weight), ("deployments", Strategy::Weighted, 2));
    assert_eq!((group.nodes.len(), &all.nodes[1]), (2, &Node::Target(2)));
    let [first, last] = [&all.targets[0], &all.targets[2]];
    assert_eq!((first.via.as_deref(), last.via.as_deref()), (Some("deployments"), None));
    assert_eq!((first.weight, first.min_quality, last.min_quality), (3, Quality::new(0.5), None));
    assert_eq!(first.guards.max_price.unwrap().request, Usd::parse("2"), "its own model's");
    assert_eq!(last.guards.max_price.unwrap().request, Usd::parse("1"));
    assert!(Arc::ptr_eq(&first.health, &snapshot.resolve("deployments").unwrap().targets[0].health));
    let top = snapshot.resolve("top").unwrap();
    assert_eq!(top.targets.len(), 4);
    let Node::Group(all) = &top.nodes[1] else { panic!("{:?}", top.nodes) };
    let Node::Group(deployments) = &all.nodes[0] else { panic!("{all:?}") };
    assert_eq!(deployments.nodes, [Node::Target(1), Node::Target(2)]);
    assert!(snapshot.resolve("openai/a").unwrap().nodes.is_empty(), "a model may have the name of its target");
}

#[test]
fn a_model_that_would_serve_itself_is_refused_at_the_line_that_closes_the_circle() {
    let source = format!(
        "{OPENAI}models:\n  a:\n    targets:\n      - openai/m\n      - b\n  b:\n    targets: [c]\n  c:\n    targets:\n      - openai/n\n      - a\n"
    );
    let error = refused(&source);
    assert!(error.contains("a → b → c → a") && error.contains("mainstay.yaml:13"), "{error}");
    let error = refused(&format!("{OPENAI}models:\n  a:\n    targets:\n      - a\n"));
    assert!(error.contains("a → a") && error.contains("mainstay.yaml:6"), "{error}");
}

#[test]
fn what_a_nested_model_cannot_be_given_is_refused_at_its_line() {
    for (target, said) in [
        ("{ target: pool, prices: { input: 1, output: 1 } }", "`prices` is said of the targets it lists"),
        ("{ target: pool, quality: 1 }", "`quality` is said of the targets it lists"),
        ("openai/m", "`openai/m` is listed twice"),
        ("pools", "`pools` is no target"),
    ] {
        let error = refused(&format!(
            "{OPENAI}models:\n  pool: {{ targets: [openai/m] }}\n  top:\n    targets:\n      - pool\n      - {target}\n"
        ));
        assert!(error.contains(said) && error.contains("mainstay.yaml:8"), "{target}: {error}");
    }
}

#[test]
fn probes_are_wanted_by_target_and_a_model_that_relies_on_them_has_them() {
    let probed = |health: &str, model: &str| {
        let yaml = format!(
            "{health}\nproviders:\n  a: {{ dialect: openai-chat, base_url: http://127.0.0.1:1, keys: [k] }}\nmodels:\n  \
             one: {{ targets: [a/x, a/y], {model} }}\n  two: {{ targets: [a/y] }}\n"
        );
        let probed = load(&yaml).unwrap().probed();
        let shown = |(target, probing): &(Arc<routing::Target>, signals::Probing)| {
            format!("{} {} {:?}", target.id, probing.call.as_str(), probing.every)
        };
        probed.iter().map(shown).collect::<Vec<_>>()
    };
    assert!(probed("", "probe: live").is_empty());
    assert_eq!(probed("", "probe: synthetic"), ["a/x token 5s", "a/y token 5s"]);
    assert_eq!(probed("health: { probe: { every: 1m, targets: [a/y] } }", "probe: live"), ["a/y token 60s"]);
    let both = "health: { probe: [{ call: model_list, targets: [a/*] }, { every: 9s }] }";
    assert_eq!(probed(both, "probe: off"), ["a/x model_list 5s", "a/y model_list 5s"]);
    assert_eq!(probed(both, "probe: synthetic"), ["a/x token 9s", "a/y token 9s"], "a list proves no recovery");
    for (wrong, why) in [
        ("{ every: 10ms }", "`every` is 10ms: expected 1s or more"),
        ("{ idle: 10ms }", "`idle` is 10ms"),
        ("{ targets: [] }", "`targets` is empty"),
        ("{ call: ping }", "model_list"),
        ("{ often: 1s }", "often"),
        ("often", "a mapping such as { call: token"),
    ] {
        let error = refused(&format!("health: {{ probe: {wrong} }}\n"));
        assert!(error.contains(why) && error.contains(":1"), "{wrong}: {error}");
    }
}

#[test]
fn status_pages_are_read_where_the_configuration_says_so() {
    let row = "providers:\n  groq: { keys: [k] }\n  deepseek: { keys: [k] }\n  in-house: { dialect: openai-chat, base_url: \
               http://127.0.0.1:1, keyless: true, status_page: { url: \"https://status.example.com/x.json\" } }\n";
    let read = |line: &str| {
        let snapshot = load(&format!("{line}\n{row}")).unwrap();
        let shown = snapshot.status_pages().map(|(provider, _, every)| format!("{} {every:?}", provider.name));
        shown.collect::<Vec<_>>()
    };
    assert!(read("").is_empty() && read("status_pages: off").is_empty());
    assert_eq!(read("status_pages: on"), ["groq 60s", "in-house 60s"]);
    assert_eq!(read("status_pages: { every: 30s }"), ["groq 30s", "in-house 30s"]);
    let error = refused("status_pages: { every: 1s }\n");
    assert!(error.contains("`every` is 1s: expected 10s or more") && error.contains("mainstay.yaml:1"), "{error}");
    let error = refused("providers:\n  groq: { keys: [k], status_page: { url: \"status.example.com\" } }\n");
    assert!(error.contains("status_page.url") || error.contains("an http:// or https:// address"), "{error}");
}

#[test]
fn incident_feeds_say_whom_they_speak_of_and_a_webhook_has_a_secret() {
    let feed = |feed: &str| format!("incident_feeds:\n  - {feed}\n");
    let snapshot = load(&feed("{ url: \"https://a.test/x\", format: rss, provider: xai, every: 30s }")).unwrap();
    assert_eq!(snapshot.incident_feeds[0].every.as_secs(), 30);
    assert!(load(&feed("{ url: \"https://a.test/x\", format: json }")).unwrap().incident_webhook.is_none());
    let hook = load("incident_webhook: { secret: 0123456789abcdef }\n").unwrap().incident_webhook.unwrap();
    assert_eq!(hook.believed_for.as_secs(), 3_600);
    for (wrong, why) in [
        (feed("{ url: \"https://a.test/x\", format: rss }"), "expected `provider`, `target` or `region`"),
        (feed("{ url: \"https://a.test/x\", format: json, title: x }"), "`title` is for `format: rss`"),
        (feed("{ url: \"https://a.test/x\", format: json, every: 1s }"), "expected 10s or more"),
        (feed("{ url: \"${NOT_SET}\", format: json }"), "NOT_SET is not set"),
        (feed("{ format: json }"), "url"),
        ("incident_webhook: { secret: short }\n".to_owned(), "has 5 characters: expected 16 or more"),
        ("incident_webhook: {}\n".to_owned(), "secret"),
    ] {
        let error = refused(&wrong);
        assert!(error.contains(why), "{wrong}: {error}");
    }
}

#[test]
fn a_price_feed_is_read_and_each_wrong_key_of_it_says_what_is_expected() {
    let feed = |lines: &str| format!("{OPENAI}price_feed: {lines}\n");
    let read = load(&feed("{ from: spot.json }")).unwrap().price_feed.unwrap();
    assert_eq!(
        (&*read.from, read.every.as_secs(), read.max_change),
        ("spot.json", 3_600, Ratio::parse("50%").unwrap())
    );
    let read = load(&feed("{ from: \"https://a.test/${OPENAI_API_KEY}\", every: 10s, max_change: 0.2 }")).unwrap();
    let read = read.price_feed.unwrap();
    assert_eq!((&*read.from, read.every.as_secs()), ("https://a.test/sk-1", 10));
    assert_eq!(read.max_change, Ratio::parse("20%").unwrap());
    assert!(load(OPENAI).unwrap().price_feed.is_none());
    for (wrong, why) in [
        ("{ every: 1h }", "from"),
        ("{ from: \"\" }", "`from` names nothing: expected a file or an address"),
        ("{ from: \"${NOT_SET_ANYWHERE}\" }", "NOT_SET_ANYWHERE is not set"),
        ("{ from: spot.json, every: 9s }", "`every` is 9s: expected 10s or more"),
        ("{ from: spot.json, every: 60 }", "500ms"),
        ("{ from: spot.json, max_change: 0% }", "`max_change` allows no change: expected more than 0"),
        ("{ from: spot.json, max_change: a lot }", "150%"),
        ("{ from: spot.json, max_step: 50% }", "max_change"),
        ("spot.json", "price_feed"),
        ("[{ from: spot.json }]", "price_feed"),
    ] {
        let error = refused(&feed(wrong));
        let is_placed = error.contains("mainstay.yaml:3") || error.contains("line 3");
        assert!(error.contains(why) && is_placed, "{wrong}: {error}");
    }
}
