//! What one target takes and how it spells it: the deviations of `providers.md` §2 as data.
//!
//! A profile is read from the catalogue (`quirks:` of a provider row, of a model pattern, or of the configuration) and
//! handed to the encoders. The default profile is the dialect as its vendor documents it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Deviations of one target. Every field has the dialect's own behaviour as its default.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Profile {
    /// The field that caps the output (`openai-chat`).
    pub output_cap: OutputCap,
    /// How instructions are spelled (`openai-chat`).
    pub instructions: Instructions,
    /// Top-level request fields the target rejects: dropped and reported. `messages.name` names the participant name.
    pub drop: Vec<String>,
    /// Top-level fields it spells differently: `seed: random_seed`.
    pub rename: std::collections::BTreeMap<String, String>,
    /// Most stop sequences it takes.
    pub max_stop: Option<usize>,
    /// Highest temperature it takes; higher ones are clamped and reported.
    pub max_temperature: Option<f64>,
    /// `temperature`, `top_p`, `top_k` are rejected altogether (reasoning models, Claude 4.7+).
    pub no_sampling: bool,
    /// `temperature` and `top_p` may not both be sent (Claude 4.1–4.6): `top_p` is dropped.
    pub temperature_xor_top_p: bool,
    /// JSON Schema output is rejected: degraded to JSON mode with the schema in the instructions.
    pub no_json_schema: bool,
    /// JSON mode is rejected too.
    pub no_json_object: bool,
    /// `tool_choice` other than auto and none is rejected: degraded to auto and reported.
    pub tool_choice_auto_only: bool,
    /// The id of a tool call must be exactly nine letters and digits (Mistral).
    pub nine_character_tool_ids: bool,
    /// Only images inside the request; a web address makes the request inexpressible.
    pub images_inline_only: bool,
    /// `content: null` is rejected: `""` instead.
    pub empty_content_string: bool,
    /// The field of an assistant turn that takes reasoning text back (`reasoning_content`); absent = it is removed.
    pub reasoning_field: Option<String>,
    /// Every assistant turn with tool calls must carry that field, `""` if nothing is known (`DeepSeek` V4).
    pub reasoning_required_with_tools: bool,
    /// Usage counts reasoning outside `completion_tokens` (xAI).
    pub reasoning_outside_output: bool,
    /// How usage is asked for in a stream.
    pub stream_usage: StreamUsage,
    /// How Anthropic models think.
    pub thinking: Thinking,
    /// How Gemini models think.
    pub gemini_thinking: GeminiThinking,
    /// `reasoning_effort` values it takes (`openai-chat`); empty = all; the nearest lower one is sent.
    pub efforts: Vec<String>,
    /// Forced tool use is rejected (Claude 5.5, Fable 5.1): degraded to auto and reported.
    pub no_forced_tools: bool,
    /// Output cap sent when the caller set none and the dialect requires one (Anthropic).
    pub default_max_tokens: Option<u64>,
    /// Highest output cap it takes; higher ones are clamped and reported.
    pub max_output_tokens: Option<u64>,
    /// How it goes on with an answer that was begun; absent = it has no means of its own.
    pub continuation: Continuation,
    /// What such a continuation may not stand beside.
    pub continuation_excludes: Vec<Exclusion>,
    /// Put before the dialect's path for such a call (`/beta`).
    pub continuation_path: Option<String>,
}

/// How a target goes on with an answer that was begun (`providers.md` §6).
///
/// Only where the vendor documents it for the model: a target that takes a begun turn for a finished one starts anew,
/// or refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Continuation {
    /// Not by itself.
    #[default]
    None,
    /// The last turn is the model's, with what it had said (Claude up to 4.5, Groq).
    Prefill,
    /// The same with `prefix: true` on it (Mistral, `DeepSeek`). The answer may repeat it.
    Prefix,
    /// The same with `partial: true` on it (Qwen, Moonshot).
    Partial,
    /// The same, with `continue_final_message: true` and `add_generation_prompt: false` in the body (`vLLM`, `SGLang`).
    ContinueFinalMessage,
    /// The first request again with the token that its answer gave (Gemini 4). The output cap counts both answers.
    Token,
}

/// What a continuation may not stand beside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Exclusion {
    /// Thinking that is on.
    Thinking,
    /// JSON mode and JSON Schema output.
    StructuredOutput,
    /// JSON mode alone.
    JsonObject,
    /// Tools on offer.
    Tools,
}

/// Spelling of the output cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutputCap {
    /// As the caller wrote it; `max_completion_tokens` when translating.
    #[default]
    AsWritten,
    /// `max_completion_tokens` only.
    MaxCompletionTokens,
    /// `max_tokens` only.
    MaxTokens,
}

/// Spelling of instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Instructions {
    /// As the caller wrote them.
    #[default]
    AsWritten,
    /// `system` only.
    System,
    /// `developer` only.
    Developer,
}

/// How usage is asked for in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StreamUsage {
    /// `stream_options: {include_usage: true}`.
    #[default]
    StreamOptions,
    /// It comes unasked, and asking is rejected or pointless.
    Unasked,
}

/// Thinking of a Claude family (`providers.md` §2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Thinking {
    /// `output_config.effort` with adaptive thinking (4.6 and later).
    #[default]
    Effort,
    /// `thinking: {type: enabled, budget_tokens}` (3.7–4.5).
    Budget,
    /// Always on, cannot be disabled (Fable, 5.5).
    AlwaysOn,
    /// The model does not think.
    Unsupported,
}

/// Thinking of a Gemini family (`providers.md` §2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GeminiThinking {
    /// `thinkingLevel` (3 and later).
    #[default]
    Level,
    /// `thinkingBudget` (2.5).
    Budget,
    /// The model does not think.
    Unsupported,
}
