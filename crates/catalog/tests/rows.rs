//! The shipped rows, and a user's rows over them.

use catalog::{Auth, Catalog, RawProvider};

#[test]
fn the_shipped_catalogue_loads() {
    let catalog = Catalog::builtin().unwrap();
    for name in [
        "openai",
        "anthropic",
        "gemini",
        "deepseek",
        "mistral",
        "dashscope",
        "groq",
        "xai",
        "openrouter",
        "tokenmix",
        "ollama",
        "vllm",
    ] {
        assert!(catalog.providers.contains_key(name), "{name}");
    }
    assert_eq!(catalog.providers["anthropic"].auth, Auth::Header("x-api-key".into()));
}

#[test]
fn a_provider_is_added_at_run_time_by_a_row() {
    let row: RawProvider = serde_saphyr::from_str(
        "{ dialect: openai-chat, base_url: 'http://10.0.0.7:8000/v1/', keys: [], quirks: { output_cap: max_tokens } }",
    )
    .unwrap();
    let provider = Catalog::builtin().unwrap().with_overrides("in-house", row).unwrap();
    assert_eq!(provider.base_url, "http://10.0.0.7:8000/v1");
}
