//! The shipped rows, and a user's rows over them.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use canon::{DialectName, FaultClass, Secret};
use catalog::{Auth, Catalog, CatalogError, Moment, Provider, Rate, RawProvider, classify};
use dialect::profile::{GeminiThinking, Instructions, OutputCap, Profile, Thinking};
use std::sync::Arc;
use std::time::SystemTime;

fn shipped(name: &str) -> Arc<Provider> {
    Arc::clone(&Catalog::builtin().unwrap().providers[name])
}

fn row(yaml: &str) -> RawProvider {
    serde_saphyr::from_str(yaml).unwrap()
}

fn over(name: &str, yaml: &str) -> Result<Provider, CatalogError> {
    Catalog::builtin().unwrap().with_overrides(name, row(yaml))
}

#[test]
fn the_shipped_rows_say_where_each_provider_is_and_how_it_is_asked() {
    let bearer = Auth::Bearer;
    for (name, dialect, url, auth, env, keyless) in [
        ("openai", DialectName::OpenaiChat, "https://api.openai.com/v1", bearer.clone(), "OPENAI_API_KEY", false),
        (
            "anthropic",
            DialectName::AnthropicMessages,
            "https://api.anthropic.com/v1",
            Auth::Header("x-api-key".into()),
            "ANTHROPIC_API_KEY",
            false,
        ),
        (
            "gemini",
            DialectName::Gemini,
            "https://generativelanguage.googleapis.com/v1beta",
            Auth::Header("x-goog-api-key".into()),
            "GEMINI_API_KEY",
            false,
        ),
        ("deepseek", DialectName::OpenaiChat, "https://api.deepseek.com", bearer.clone(), "DEEPSEEK_API_KEY", false),
        ("mistral", DialectName::OpenaiChat, "https://api.mistral.ai/v1", bearer.clone(), "MISTRAL_API_KEY", false),
        (
            "dashscope",
            DialectName::OpenaiChat,
            "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
            bearer.clone(),
            "DASHSCOPE_API_KEY",
            false,
        ),
        ("groq", DialectName::OpenaiChat, "https://api.groq.com/openai/v1", bearer.clone(), "GROQ_API_KEY", false),
        ("xai", DialectName::OpenaiChat, "https://api.x.ai/v1", bearer.clone(), "XAI_API_KEY", false),
        (
            "openrouter",
            DialectName::OpenaiChat,
            "https://openrouter.ai/api/v1",
            bearer.clone(),
            "OPENROUTER_API_KEY",
            false,
        ),
        ("tokenmix", DialectName::OpenaiChat, "https://api.tokenmix.ai/v1", bearer.clone(), "TOKENMIX_API_KEY", false),
        ("ollama", DialectName::OpenaiChat, "http://localhost:11434/v1", bearer.clone(), "OLLAMA_API_KEY", true),
        ("vllm", DialectName::OpenaiChat, "http://localhost:8000/v1", bearer.clone(), "VLLM_API_KEY", true),
    ] {
        let provider = shipped(name);
        assert_eq!(provider.name, name);
        assert_eq!((provider.dialect, provider.base_url.as_str()), (dialect, url), "{name}");
        assert_eq!((&provider.auth, provider.keyless), (&auth, keyless), "{name}");
        assert_eq!(provider.key_env.first().map(String::as_str), Some(env), "{name}");
    }
    assert_eq!(shipped("anthropic").headers, [("anthropic-version".to_owned(), "2023-06-01".to_owned())]);
    assert_eq!(shipped("gemini").key_env, ["GEMINI_API_KEY", "GOOGLE_API_KEY"]);
}

#[test]
fn headers_cross_by_list_and_a_star_stands_for_any_ending() {
    let anthropic = shipped("anthropic");
    assert!(anthropic.passes_request_header("anthropic-beta"));
    assert!(!anthropic.passes_request_header("authorization"));
    assert!(!anthropic.passes_request_header("x-api-key"));
    assert!(anthropic.passes_response_header("anthropic-ratelimit-tokens-remaining"));
    assert!(anthropic.passes_response_header("retry-after"));
    assert!(!anthropic.passes_response_header("set-cookie"));
}

#[test]
fn claude_families_differ_as_documented() {
    let anthropic = shipped("anthropic");
    let profile = |id: &str| anthropic.model(id).profile;
    // id, sampling rejected, temperature xor top_p, thinking, forced tools rejected, most output
    for (id, no_sampling, xor, thinking, no_forced, most) in [
        ("claude-3-haiku-20240307", false, false, Thinking::Unsupported, false, 4096),
        ("claude-3-5-sonnet-20241022", false, false, Thinking::Unsupported, false, 8192),
        ("claude-3-7-sonnet-20250219", false, false, Thinking::Budget, false, 64_000),
        ("claude-opus-4-20250514", false, false, Thinking::Budget, false, 32_000),
        ("claude-sonnet-4-20250514", false, false, Thinking::Budget, false, 64_000),
        ("claude-opus-4-1-20250805", false, true, Thinking::Budget, false, 32_000),
        ("claude-haiku-4-5", false, true, Thinking::Budget, false, 64_000),
        ("claude-sonnet-4-5-20250929", false, true, Thinking::Budget, false, 64_000),
        ("claude-opus-4-6", false, true, Thinking::Effort, false, 128_000),
        ("claude-opus-4-7", true, false, Thinking::Effort, false, 128_000),
        ("claude-opus-4-8", true, false, Thinking::Effort, false, 128_000),
        ("claude-sonnet-5", true, false, Thinking::Effort, false, 128_000),
        ("claude-opus-5", true, false, Thinking::Effort, false, 128_000),
        ("claude-fable-5", true, false, Thinking::AlwaysOn, false, 128_000),
        ("claude-fable-5-1", true, false, Thinking::AlwaysOn, true, 128_000),
        ("claude-haiku-5-5", true, false, Thinking::Effort, false, 128_000),
        ("claude-sonnet-5-5", true, false, Thinking::AlwaysOn, true, 128_000),
        ("claude-opus-5-5", true, false, Thinking::AlwaysOn, true, 128_000),
    ] {
        let profile = profile(id);
        assert_eq!(profile.no_sampling, no_sampling, "{id}");
        assert_eq!(profile.temperature_xor_top_p, xor, "{id}");
        assert_eq!(profile.thinking, thinking, "{id}");
        assert_eq!(profile.no_forced_tools, no_forced, "{id}");
        assert_eq!(profile.max_output_tokens, Some(most), "{id}");
        let cap = profile.default_max_tokens.unwrap();
        assert!(cap <= most, "{id}: a default cap of {cap} above {most}");
    }
    assert!(profile("claude-of-the-future").no_sampling);
    assert!(profile("claude-opus-4-1").no_json_schema && !profile("claude-opus-4-5").no_json_schema);
}

#[test]
fn reasoning_models_of_openai_are_told_apart_from_the_others() {
    let openai = shipped("openai");
    for id in ["o1", "o3", "o3-mini", "o4-mini", "gpt-5", "gpt-5-mini", "gpt-5.1", "gpt-5.4-nano", "gpt-6"] {
        let model = openai.model(id);
        assert!(model.facts.reasoning_model, "{id}");
        assert!(model.profile.no_sampling, "{id}");
        assert_eq!(model.profile.output_cap, OutputCap::MaxCompletionTokens, "{id}");
        assert_eq!(model.profile.instructions, Instructions::Developer, "{id}");
        for field in ["logprobs", "top_logprobs", "frequency_penalty", "presence_penalty", "logit_bias"] {
            assert!(model.profile.drop.iter().any(|name| name == field), "{id}: {field}");
        }
    }
    for id in ["gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-5-chat-latest", "gpt-5.1-chat-latest", "omni"] {
        let model = openai.model(id);
        assert!(!model.facts.reasoning_model, "{id}");
        assert_eq!(Profile { max_output_tokens: None, ..model.profile }, openai.profile, "{id} deviates");
    }
    assert!(openai.model("o3").profile.drop.contains(&"stop".to_owned()));
    assert!(!openai.model("gpt-5").profile.drop.contains(&"stop".to_owned()));
    assert_eq!(openai.model("gpt-5.1").facts.retires.as_deref(), Some("2027-04-01"));
}

#[test]
fn the_other_providers_deviate_as_documented() {
    let gemini = |id: &str| shipped("gemini").model(id).profile.gemini_thinking;
    assert_eq!(gemini("gemini-2.5-flash"), GeminiThinking::Budget);
    assert_eq!(gemini("gemini-3-pro-preview"), GeminiThinking::Level);
    assert_eq!(gemini("gemini-2.0-flash"), GeminiThinking::Unsupported);

    let mistral = shipped("mistral").model("mistral-large-latest").profile;
    assert_eq!(mistral.rename.get("seed").map(String::as_str), Some("random_seed"));
    assert!(mistral.nine_character_tool_ids);
    assert_eq!((mistral.output_cap, mistral.instructions), (OutputCap::MaxTokens, Instructions::System));

    let deepseek = shipped("deepseek").model("deepseek-v4-pro").profile;
    assert!(deepseek.no_json_schema && deepseek.reasoning_required_with_tools);
    assert_eq!(deepseek.reasoning_field.as_deref(), Some("reasoning_content"));

    let groq = shipped("groq").model("llama-3.3-70b-versatile").profile;
    for field in ["logprobs", "top_logprobs", "logit_bias", "messages.name", "n"] {
        assert!(groq.drop.iter().any(|name| name == field), "{field}");
    }
    let schema_less = |id: &str| shipped("dashscope").model(id).profile.no_json_schema;
    assert!(schema_less("qwen-plus") && schema_less("qwen3-max") && !schema_less("qwen3.7-plus"));
    assert!(shipped("xai").model("grok-4").profile.reasoning_outside_output);
    assert!(shipped("xai").model("grok-4").profile.drop.contains(&"stop".to_owned()));
    assert!(!shipped("xai").model("grok-3").profile.drop.contains(&"stop".to_owned()));
    let ollama = shipped("ollama").model("llama3.2").profile;
    assert!(ollama.images_inline_only && ollama.tool_choice_auto_only);
    assert!(!shipped("openai").profile.reasoning_outside_output);
}

#[test]
fn a_model_nobody_knows_is_served_with_unknown_facts() {
    let model = shipped("vllm").model("my-own-model");
    assert!(!model.known);
    assert_eq!(model.facts.context_window, None);
    assert_eq!(model.facts.prices, None);
    assert_eq!(model.facts.capabilities.tools, None);
    assert_eq!(model.profile, shipped("vllm").profile);
}

#[test]
fn a_provider_is_added_at_run_time_by_a_row_alone() {
    let provider = over(
        "in-house",
        "
        dialect: openai-chat
        base_url: http://10.0.0.7:8000/v1/
        auth: { header: x-token }
        keys: [one, two]
        headers: { x-team: support }
        quirks: { output_cap: max_tokens, drop: [n] }
        errors:
          - { status: [400], text: [no such llama], class: model_missing }
        models:
          - { id: llama-small, context_window: 8192, quirks: { drop: [seed] } }
        ",
    )
    .unwrap();
    assert_eq!(provider.base_url, "http://10.0.0.7:8000/v1");
    assert_eq!(provider.auth, Auth::Header("x-token".into()));
    assert_eq!(provider.headers, [("x-team".to_owned(), "support".to_owned())]);
    let model = provider.model("llama-small");
    assert_eq!(model.facts.context_window, Some(8192));
    assert_eq!(model.profile.drop, ["n", "seed"]);
    assert_eq!(model.profile.output_cap, OutputCap::MaxTokens);
    let fault = classify::head(&provider, 400, &|_| None, br#"{"error":"No such llama"}"#, SystemTime::UNIX_EPOCH);
    assert_eq!(fault.class, FaultClass::ModelMissing);
    let fault = classify::head(&provider, 503, &|_| None, b"", SystemTime::UNIX_EPOCH);
    assert_eq!(fault.class, FaultClass::Overloaded);
}

#[test]
fn a_row_overrides_fields_of_a_shipped_one_and_keeps_the_rest() {
    let provider = over(
        "deepseek",
        "{ base_url: 'http://127.0.0.1:9/v1', quirks: { max_stop: 3 }, models: [{ id: deepseek-v4-pro, prices: { input: 9, output: 9 } }] }",
    )
    .unwrap();
    assert_eq!(provider.base_url, "http://127.0.0.1:9/v1");
    assert_eq!(provider.key_env, ["DEEPSEEK_API_KEY"]);
    assert!(provider.cancel_stops_billing);
    assert!(!over("deepseek", "{ cancel_stops_billing: false }").unwrap().cancel_stops_billing);
    assert!(!shipped("groq").cancel_stops_billing, "nobody says so");
    let model = provider.model("deepseek-v4-pro");
    assert_eq!(model.facts.context_window, Some(1_000_000));
    let prices = model.facts.prices.unwrap();
    assert_eq!((prices.input, prices.cached_input, prices.when.len()), (Rate::parse("9").unwrap(), None, 0));
    assert_eq!(model.profile.max_stop, Some(3));
    assert!(model.profile.no_json_schema);
    let gone = br#"{"error":{"message":"Model Not Exist"}}"#;
    let fault = classify::head(&provider, 400, &|_| None, gone, SystemTime::UNIX_EPOCH);
    assert_eq!(fault.class, FaultClass::ModelMissing);
}

#[test]
fn a_user_s_rule_wins_over_the_shipped_ones() {
    let provider = over("openai", "{ errors: [{ status: [503], class: server_error, scope: provider }] }").unwrap();
    let fault = classify::head(&provider, 503, &|_| None, b"", SystemTime::UNIX_EPOCH);
    assert_eq!((fault.class, fault.scope), (FaultClass::ServerError, canon::Scope::Provider));
}

#[test]
fn a_row_that_changes_the_dialect_keeps_nothing_of_the_old_one() {
    let provider =
        over("deepseek", "{ dialect: anthropic-messages, base_url: 'https://api.deepseek.com/anthropic' }").unwrap();
    assert_eq!(provider.auth, Auth::Header("x-api-key".into()));
    assert_eq!(provider.profile, Profile::default());
    assert_eq!(provider.key_env, ["DEEPSEEK_API_KEY"]);
}

#[test]
fn a_new_provider_may_share_the_errors_of_a_shipped_one() {
    let provider =
        over("my-groq", "{ dialect: openai-chat, base_url: 'http://127.0.0.1:9', errors_like: groq }").unwrap();
    let fault = classify::head(&provider, 413, &|_| None, b"", SystemTime::UNIX_EPOCH);
    assert_eq!(fault.class, FaultClass::ContextExceeded);
}

#[test]
fn what_cannot_be_used_is_named_with_its_field_its_value_and_what_was_expected() {
    for (name, yaml, field, found) in [
        ("new", "{ base_url: 'http://x' }", "providers.new.dialect", "nothing"),
        ("new", "{ dialect: gemini }", "providers.new.base_url", "nothing"),
        ("a/b", "{ dialect: gemini, base_url: 'http://x' }", "providers.a/b", "a/b"),
        ("new", "{ dialect: gemini, base_url: 'x.example' }", "providers.new.base_url", "x.example"),
        ("new", "{ dialect: gemini, base_url: 'https://u@x.example' }", "providers.new.base_url", "u@x"),
        ("new", "{ dialect: gemini, base_url: 'https://x.example?key=1' }", "providers.new.base_url", "?key=1"),
        ("new", "{ dialect: gemini, base_url: 'http://' }", "providers.new.base_url", "http:"),
        ("openai", "{ auth: { header: 'x api' } }", "providers.openai.auth.header", "x api"),
        ("openai", "{ headers: { 'a b': c } }", "providers.openai.headers", "a b"),
        ("openai", "{ headers: { a: \"b\\r\\nc\" } }", "providers.openai.headers", "\\r\\n"),
        ("openai", "{ errors: [{ class: overloaded }] }", "providers.openai.errors", "without conditions"),
        ("openai", "{ errors_like: nobody }", "providers.openai.errors_like", "nobody"),
        ("openai", "{ models: [{ id: '' }] }", "providers.openai.models[].id", "nothing"),
        (
            "openai",
            "{ models: [{ id: m, prices: { input: 1, output: 1, when: [{ input: 1 }] } }] }",
            "providers.openai.models[m].prices.when.0",
            "no condition",
        ),
        ("openai", "{ models: [{ id: m, retires: soon }] }", "providers.openai.models[m].retires", "soon"),
        (
            "openai",
            "{ models: [{ id: m, retires: '2026-13-01' }] }",
            "providers.openai.models[m].retires",
            "2026-13-01",
        ),
    ] {
        let error = over(name, yaml).unwrap_err();
        assert_eq!(error.field, field, "{yaml}");
        assert!(error.found.contains(found), "{yaml}: {error}");
        assert!(error.to_string().contains("expected "), "{error}");
    }
}

#[test]
fn a_row_with_an_unknown_field_or_a_wrong_value_is_refused_where_it_stands() {
    for (yaml, says) in [
        ("dialect: openai-chat\nbase-url: x", "base-url"),
        ("dialect: openai\n", "openai"),
        ("quirks:\n  no_smapling: true", "no_smapling"),
        ("quirks:\n  output_cap: tokens", "tokens"),
        ("errors:\n  - { status: [9000], class: overloaded }", "9000"),
        ("errors:\n  - { status: [abc], class: overloaded }", "abc"),
        ("errors:\n  - { status: [429], class: broken }", "broken"),
        ("models:\n  - { context_window: 5 }", "id"),
    ] {
        let error = serde_saphyr::from_str::<RawProvider>(yaml).unwrap_err().to_string();
        assert!(error.contains(says), "{yaml}: {error}");
    }
}

#[test]
fn keys_are_read_as_secrets_and_yaml_booleans_stay_words() {
    let row = row("{ keys: ['k-1'], quirks: { drop: [n, y] } }");
    assert_eq!(row.keys, Some(vec![Secret::new("k-1")]));
    assert!(!format!("{row:?}").contains("k-1"));
    assert_eq!(row.quirks.unwrap().profile().unwrap().drop, ["n", "y"]);
}

#[test]
fn the_schema_of_a_row_names_its_fields_and_refuses_others() {
    let schema = serde_json::to_value(schemars::schema_for!(RawProvider)).unwrap();
    assert_eq!(schema["additionalProperties"], false);
    for field in ["dialect", "base_url", "keys", "auth", "quirks", "errors", "models", "errors_like"] {
        assert!(schema["properties"].get(field).is_some(), "{field}");
    }
    let text = schema.to_string();
    for word in ["openai-chat", "rate_limited", "no_sampling", "context_window"] {
        assert!(text.contains(word), "{word}");
    }
}

#[test]
fn only_models_that_are_documented_to_go_on_with_a_begun_answer_are_asked_to() {
    use dialect::profile::{Continuation, Exclusion};
    for (provider, model, expected) in [
        ("anthropic", "claude-3-haiku-20240307", Continuation::Prefill),
        ("anthropic", "claude-3-7-sonnet-20250219", Continuation::Prefill),
        ("anthropic", "claude-opus-4-20250514", Continuation::Prefill),
        ("anthropic", "claude-sonnet-4-0", Continuation::Prefill),
        ("anthropic", "claude-opus-4-1-20250805", Continuation::Prefill),
        ("anthropic", "claude-haiku-4-5", Continuation::Prefill),
        ("anthropic", "claude-sonnet-4-5-20250929", Continuation::Prefill),
        ("anthropic", "claude-opus-4-6", Continuation::None),
        ("anthropic", "claude-opus-4-8", Continuation::None),
        ("anthropic", "claude-sonnet-5", Continuation::None),
        ("anthropic", "claude-haiku-5-5", Continuation::None),
        ("anthropic", "claude-fable-5-1", Continuation::None),
        ("anthropic", "claude-of-the-future", Continuation::None),
        ("openai", "gpt-4o", Continuation::None),
        ("openai", "unknown", Continuation::None),
        ("xai", "grok-4", Continuation::None),
        ("tokenmix", "unknown", Continuation::None),
        ("gemini", "gemini-3-pro-preview", Continuation::None),
        ("gemini", "gemini-4-flash", Continuation::Token),
        ("mistral", "mistral-large-latest", Continuation::Prefix),
        ("mistral", "magistral-medium-latest", Continuation::None),
        ("mistral", "unknown", Continuation::None),
        ("deepseek", "deepseek-v4-pro", Continuation::Prefix),
        ("deepseek", "unknown", Continuation::None),
        ("dashscope", "qwen-plus", Continuation::Partial),
        ("dashscope", "qwen3-coder-plus", Continuation::Partial),
        ("dashscope", "qwen3.7-plus", Continuation::None),
        ("dashscope", "qwen3-235b-a22b-thinking-2507", Continuation::None),
        ("groq", "llama-3.3-70b-versatile", Continuation::Prefill),
        ("groq", "openai/gpt-oss-120b", Continuation::None),
        ("openrouter", "anthropic/claude-sonnet-4.5", Continuation::Prefill),
        ("openrouter", "anthropic/claude-3.7-sonnet:thinking", Continuation::None),
        ("openrouter", "anthropic/claude-opus-4.6", Continuation::None),
        ("openrouter", "unknown/model", Continuation::None),
        ("ollama", "llama3.1:8b", Continuation::Prefill),
        ("ollama", "unknown", Continuation::None),
        ("vllm", "any/model", Continuation::ContinueFinalMessage),
    ] {
        let profile = shipped(provider).model(model).profile;
        assert_eq!(profile.continuation, expected, "{provider}/{model}");
        // What thinks, or answers in a form, is nowhere documented to go on; but DeepSeek's prefix takes thoughts, and
        // a token is the same request again.
        let thought = profile.continuation_excludes.contains(&Exclusion::Thinking);
        let free = matches!(expected, Continuation::None | Continuation::Token) || provider == "deepseek";
        assert!(thought || free, "{provider}/{model}");
    }
}

#[test]
fn a_continuation_is_configured_like_any_other_deviation() {
    use dialect::profile::{Continuation, Exclusion};
    let yaml = "{ quirks: { continuation: partial, continuation_excludes: [json_object], continuation_path: /x } }";
    let own = over("moonshot", &yaml.replace("{ quirks", "{ dialect: openai-chat, base_url: 'https://m', quirks"));
    let profile = own.unwrap().model("kimi").profile;
    assert_eq!(profile.continuation, Continuation::Partial);
    assert_eq!(profile.continuation_excludes, [Exclusion::JsonObject]);
    assert_eq!(profile.continuation_path.as_deref(), Some("/x"));
    let off = over("vllm", "{ quirks: { continuation: none } }").unwrap();
    assert_eq!(off.model("m").profile.continuation, Continuation::None);
    let schema = serde_json::to_value(schemars::schema_for!(RawProvider)).unwrap().to_string();
    for word in ["continue_final_message", "structured_output", "continuation_path"] {
        assert!(schema.contains(word), "{word}");
    }
}

#[test]
fn the_path_of_continuations_fits_the_address() {
    use dialect::profile::Continuation;
    for (address, path, continuation) in [
        ("https://api.deepseek.com", Some("/beta"), Continuation::Prefix),
        ("http://127.0.0.1:9/relay", Some("/beta"), Continuation::Prefix),
        ("https://api.deepseek.com/beta", None, Continuation::Prefix),
        ("https://api.deepseek.com/v1", None, Continuation::None),
    ] {
        let provider = over("deepseek", &format!("{{ base_url: '{address}' }}")).unwrap();
        let profile = provider.model("deepseek-v4-pro").profile;
        assert_eq!((profile.continuation_path.as_deref(), profile.continuation), (path, continuation), "{address}");
    }
}

#[test]
fn every_shipped_price_names_its_page_and_its_day_and_a_cached_token_is_never_dearer() {
    let catalog = Catalog::builtin().unwrap();
    let rows: Vec<_> = catalog.providers.values().flat_map(|provider| &provider.models).collect();
    let priced: Vec<_> = rows.iter().filter_map(|row| Some((&row.id, row.prices.as_ref()?))).collect();
    assert!(priced.len() >= 12, "{}", priced.len());
    for (id, prices) in priced {
        assert!(prices.source.as_ref().is_some_and(|page| page.starts_with("https://")), "{id}");
        assert!(prices.read.is_some(), "{id}");
        assert!(prices.cached_input.is_none_or(|cached| cached <= prices.input), "{id}");
        assert!(prices.input <= prices.output, "{id}");
    }
}

#[test]
fn deepseek_costs_twice_as_much_while_china_works() {
    let prices = shipped("deepseek").model("deepseek-v4-pro").facts.prices.unwrap();
    // Monday, 2026-11-16.
    let at = |day: u64, hour: u64| prices.at(Some(Moment::from_unix(1_794_787_200 + day * 86_400 + hour * 3_600)), 10);
    let (off, peak) = (at(0, 0), at(0, 1));
    assert_eq!((off.input.of(2), off.output.of(2)), (peak.input.of(1), peak.output.of(1)));
    assert_eq!(at(0, 5), off, "noon");
    assert_eq!(at(5, 7), off, "Saturday");
    assert_eq!(at(4, 9), peak, "Friday's last hour");
}
