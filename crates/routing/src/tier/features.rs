//! What a request shows of the work it asks for.

use super::text::Counts;
use crate::Needs;
use dialect::scan::{Scan, ask_texts};

/// What is seen of a request. Read only where a score is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Features {
    /// Characters of what is asked now: the texts of the user's last turn.
    pub letters: u64,
    /// Estimated tokens of the whole prompt.
    pub prompt_tokens: u64,
    /// Messages of the conversation.
    pub turns: u32,
    /// Bytes of the tools offered, with their schemas.
    pub tool_bytes: u64,
    /// The history holds calls of tools.
    pub has_tool_history: bool,
    /// Output bound to a schema.
    pub has_schema: bool,
    /// Images, documents or sound.
    pub has_media: bool,
    /// The caller asks for reasoning.
    pub asks_for_reasoning: bool,
    /// The caller's cap on output tokens.
    pub max_output_tokens: Option<u64>,
    /// Numbers in what is asked, in digits or words.
    pub numbers: u32,
    /// Signs and words of mathematics in it.
    pub maths: u32,
    /// Signs of code in it.
    pub code: u32,
    /// Different words in it that ask for work of several steps.
    pub hard_words: u32,
    /// Different words in it that ask for words to be moved.
    pub easy_words: u32,
    /// Words that turn a question round.
    pub negations: u32,
    /// Words of conditions.
    pub conditions: u32,
    /// Words of ten letters and more.
    pub long_words: u32,
}

impl Features {
    /// Reads them off a scanned body: what the scan found, and one pass over at most 8 KiB of what is asked.
    pub fn read(scan: &Scan, body: &[u8]) -> Self {
        let mut text = Counts::new();
        ask_texts(body, scan, |piece| text.add(piece));
        let tools = scan.fields.iter().find(|field| matches!(&*field.key, "tools" | "functions"));
        let tool_bytes = tools.filter(|_| scan.has_tools).map_or(0, |field| field.value_range.len() as u64);
        let needs = Needs::from(scan);
        Self {
            letters: text.letters,
            prompt_tokens: scan.estimated_tokens,
            turns: scan.turns,
            tool_bytes,
            has_tool_history: scan.has_tool_history,
            has_schema: scan.has_json_schema,
            has_media: scan.has_images || scan.has_documents || scan.has_audio,
            asks_for_reasoning: needs.reasoning,
            max_output_tokens: scan.max_output_tokens,
            numbers: text.numbers,
            maths: text.maths,
            code: text.code,
            hard_words: text.hard(),
            easy_words: text.easy(),
            negations: text.negations,
            conditions: text.conditions,
            long_words: text.long_words,
        }
    }
}
