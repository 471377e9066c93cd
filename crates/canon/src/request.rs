//! A caller's request, in no dialect.

use crate::DialectName;
use serde_json::{Map, Value};

/// One request for a chat answer: the union of what the dialects can ask.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Request {
    /// The model as the caller wrote it (for Gemini: from the path).
    pub model: String,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// Whether the caller asked for usage in the stream (`stream_options.include_usage`; other dialects always show
    /// it).
    pub stream_usage: bool,
    /// System and developer instructions, and turns, in the caller's order.
    pub messages: Vec<Message>,
    /// Tools on offer.
    pub tools: Vec<Tool>,
    /// Which tool must or may be called; `None` = the dialect's default (auto).
    pub tool_choice: Option<ToolChoice>,
    /// Whether several calls in one turn are allowed; `None` = the provider's default.
    pub parallel_tool_calls: Option<bool>,
    /// The form of the output.
    pub output: OutputFormat,
    /// Cap on output tokens, reasoning included.
    pub max_output_tokens: Option<u64>,
    /// Sampling.
    pub sampling: Sampling,
    /// Stop sequences.
    pub stop: Vec<String>,
    /// How many choices.
    pub n: Option<u32>,
    /// Reasoning: effort, budget, whether to show it.
    pub reasoning: ReasoningRequest,
    /// Safety thresholds (Gemini).
    pub safety: Vec<SafetySetting>,
    /// An opaque id of the caller's user.
    pub user: Option<String>,
    /// Key/value labels.
    pub metadata: Map<String, Value>,
    /// `service_tier`, as written.
    pub service_tier: Option<String>,
    /// Fields of the source dialect with no canonical form: top-level ones by name, or any by their path, as the
    /// dialect documents. An encoder of the same dialect writes them back, any other drops and reports them.
    pub extra: Map<String, Value>,
    /// The dialect `extra` belongs to.
    pub extra_dialect: Option<DialectName>,
    /// The answer was begun and is to be gone on with, not answered anew; `None` = an ordinary request, whatever its
    /// last turn. Written by the target's own means of continuation; a target without one cannot take the request.
    pub continues: Option<Continues>,
}

/// How a request says which answer it goes on with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Continues {
    /// The last turn is the beginning of the model's own answer.
    Prefill,
    /// The provider's own token for the place it had reached (Gemini 4 `continuationToken`). The turns are those of the
    /// first request: the beginning of the answer is not among them.
    Token(String),
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Instructions of the application.
    System,
    /// `OpenAI`'s `developer`; a target without it takes it as system.
    Developer,
    /// The user; tool results stand here too.
    User,
    /// The model.
    Assistant,
}

/// One turn.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said, in order. Decoders do not merge turns; encoders merge what their dialect needs merged.
    pub parts: Vec<Part>,
    /// `OpenAI`'s participant name.
    pub name: Option<String>,
}

/// A piece of a turn or of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// Text.
    Text {
        /// The text.
        text: String,
        /// Sources of this text.
        citations: Vec<crate::Citation>,
        /// Ask the provider to cache up to here.
        cache: Option<CacheHint>,
        /// Gemini's `thoughtSignature` on a text part.
        signature: Option<ProviderBound>,
    },
    /// A refusal in the model's words.
    Refusal(String),
    /// A picture.
    Image(Media),
    /// Sound.
    Audio(Media),
    /// A moving picture.
    Video(Media),
    /// A document.
    Document(Document),
    /// The model's thinking.
    Reasoning(Reasoning),
    /// The model calls a tool.
    ToolCall(ToolCall),
    /// What a tool gave back.
    ToolResult(ToolResult),
    /// A block of one dialect with no canonical form (server-side tools, search results). An encoder of the same
    /// dialect writes it back, any other drops and reports it.
    Opaque {
        /// The dialect it belongs to.
        dialect: DialectName,
        /// The block's own JSON.
        value: Value,
    },
}

impl Part {
    /// Plain text without any attribute.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into(), citations: Vec::new(), cache: None, signature: None }
    }
}

/// A marker for the provider's prompt cache, as Anthropic writes it (`cache_control`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheHint {
    /// The `cache_control` object.
    pub value: Value,
}

/// A value only the vendor that made it can read: thinking signatures, encrypted reasoning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderBound {
    /// The dialect it came in. It goes back out in the same dialect and is removed in every other.
    pub dialect: DialectName,
    /// The value as the vendor wrote it.
    pub value: String,
}

/// Bytes or where to find them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaSource {
    /// Base64 text, standard alphabet.
    Base64(String),
    /// A web address (or `gs://`, or a Gemini file URI).
    Url(String),
    /// A file the caller uploaded to the vendor of this dialect.
    FileId(DialectName, String),
}

/// A picture, a sound or a film.
#[derive(Debug, Clone, PartialEq)]
pub struct Media {
    /// `image/png`, `audio/wav`; `None` = not stated (a web address).
    pub media_type: Option<String>,
    /// Where the bytes are.
    pub source: MediaSource,
    /// `OpenAI`'s `detail`.
    pub detail: Option<String>,
    /// Ask the provider to cache up to here.
    pub cache: Option<CacheHint>,
}

/// A document: PDF, text, or anything a provider reads as a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// `application/pdf`, `text/plain`, …
    pub media_type: Option<String>,
    /// Where the bytes are; text documents are base64 here too.
    pub source: MediaSource,
    /// A file name or title.
    pub title: Option<String>,
    /// Background the model is told about it (Anthropic `context`).
    pub context: Option<String>,
    /// Whether the model is to cite it (Anthropic `citations.enabled`).
    pub cite: Option<bool>,
    /// Ask the provider to cache up to here.
    pub cache: Option<CacheHint>,
}

/// A block of thinking.
#[derive(Debug, Clone, PartialEq)]
pub struct Reasoning {
    /// The text; may be empty (`display: omitted`).
    pub text: String,
    /// The vendor's signature over it.
    pub signature: Option<ProviderBound>,
    /// Encrypted thinking instead of text (Anthropic `redacted_thinking`).
    pub redacted: Option<ProviderBound>,
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolCall {
    /// The id its result refers to; Gemini may give none.
    pub id: Option<String>,
    /// The tool.
    pub name: String,
    /// JSON text as the model wrote it; may be invalid JSON.
    pub arguments: String,
    /// Gemini's `thoughtSignature`.
    pub signature: Option<ProviderBound>,
    /// Ask the provider to cache up to here.
    pub cache: Option<CacheHint>,
    /// Function, or `OpenAI`'s free-text custom tool.
    pub kind: ToolKind,
}

/// The result of a tool.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolResult {
    /// The id of the call; Gemini may give none.
    pub call_id: Option<String>,
    /// The tool's name, where the dialect states it (Gemini) or the history tells it.
    pub name: Option<String>,
    /// Text, images, documents. Gemini's object is one text part of JSON with `json` set.
    pub parts: Vec<Part>,
    /// The result is a JSON object rather than prose (Gemini `response`).
    pub json: bool,
    /// The tool failed.
    pub is_error: bool,
    /// Ask the provider to cache up to here.
    pub cache: Option<CacheHint>,
}

/// The kind of a tool.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum ToolKind {
    /// Takes a JSON object described by a schema.
    #[default]
    Function,
    /// `OpenAI`'s custom tool: takes text; the value is its `format`.
    Custom(Option<Value>),
    /// A tool the vendor runs (web search, code execution); its whole definition in the dialect it came in.
    Vendor(DialectName, Value),
}

/// A tool on offer.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// JSON Schema of its arguments; `None` = takes none.
    pub parameters: Option<Value>,
    /// Whether arguments must follow the schema exactly.
    pub strict: Option<bool>,
    /// Ask the provider to cache up to here.
    pub cache: Option<CacheHint>,
    /// Function, custom, vendor.
    pub kind: ToolKind,
}

/// Which tool is to be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolChoice {
    /// The model decides.
    Auto,
    /// Some tool must be called.
    Required,
    /// No tool may be called.
    None,
    /// This tool must be called.
    Named(String),
    /// One of these: `required` = some of them must be, else may be.
    Allowed {
        /// The tools' names.
        names: Vec<String>,
        /// Must, not may.
        required: bool,
    },
}

/// The form of the output.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum OutputFormat {
    /// Text.
    #[default]
    Text,
    /// Any JSON object.
    JsonObject,
    /// JSON that follows a schema.
    JsonSchema {
        /// `OpenAI`'s name for it.
        name: Option<String>,
        /// What it is.
        description: Option<String>,
        /// The schema.
        schema: Value,
        /// Exactly.
        strict: Option<bool>,
    },
}

/// How tokens are drawn.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sampling {
    /// 0–2.
    pub temperature: Option<f64>,
    /// 0–1.
    pub top_p: Option<f64>,
    /// Tokens considered.
    pub top_k: Option<u64>,
    /// −2–2.
    pub frequency_penalty: Option<f64>,
    /// −2–2.
    pub presence_penalty: Option<f64>,
    /// For repeatable answers.
    pub seed: Option<i64>,
    /// Whether to return log probabilities.
    pub logprobs: Option<bool>,
    /// How many alternatives a token.
    pub top_logprobs: Option<u32>,
    /// Bias by token id.
    pub logit_bias: Option<Value>,
}

/// How hard to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Effort {
    /// Not at all.
    None,
    /// As little as there is.
    Minimal,
    /// Low.
    Low,
    /// Medium.
    Medium,
    /// High.
    High,
    /// Higher.
    Xhigh,
    /// All there is.
    Max,
}

/// What the caller wants of the model's thinking.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReasoningRequest {
    /// How hard.
    pub effort: Option<Effort>,
    /// Cap on thinking tokens (Anthropic `budget_tokens`, Gemini `thinkingBudget`); −1 = as the model likes.
    pub budget_tokens: Option<i64>,
    /// Anthropic's adaptive thinking.
    pub adaptive: bool,
    /// Whether the thinking is to be shown (`includeThoughts`, `display`).
    pub show: Option<bool>,
}

/// A safety threshold, Gemini's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SafetySetting {
    /// `HARM_CATEGORY_…`.
    pub category: String,
    /// `BLOCK_NONE`, `BLOCK_ONLY_HIGH`, …
    pub threshold: String,
    /// Vertex `method`.
    pub method: Option<String>,
}
