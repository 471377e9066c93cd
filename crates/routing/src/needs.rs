//! What a request needs of a target, as far as the head scan tells.

use dialect::scan::Scan;

/// Needs of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts of a request, each read by name")]
pub struct Needs {
    /// Prompt tokens, an estimate.
    pub estimated_tokens: u64,
    /// Cap on output tokens, where stated.
    pub max_output_tokens: Option<u64>,
    /// Function calling.
    pub tools: bool,
    /// Images in the prompt.
    pub images: bool,
    /// Documents in the prompt.
    pub documents: bool,
    /// Audio in the prompt.
    pub audio: bool,
    /// Output bound to a JSON Schema.
    pub json_schema: bool,
    /// The caller asked to see reasoning: the first token may be long in coming.
    pub reasoning: bool,
    /// The caller gets a stream.
    pub streamed: bool,
}

impl From<&Scan> for Needs {
    fn from(scan: &Scan) -> Self {
        Self {
            estimated_tokens: scan.estimated_tokens,
            max_output_tokens: scan.max_output_tokens,
            tools: scan.has_tools,
            images: scan.has_images,
            documents: scan.has_documents,
            audio: scan.has_audio,
            json_schema: scan.has_json_schema,
            reasoning: scan.shows_reasoning,
            streamed: scan.stream,
        }
    }
}
