//! How many tokens a prompt has, about: good to a third, and free.
//!
//! Counted in quarters of a token: a byte of ASCII is one (English prose and JSON run at about four bytes a token), a
//! letter of two UTF-8 bytes two (Cyrillic, Greek, accents), of three bytes four (Chinese, Japanese, Hindi: about a
//! token each), of four bytes eight (emoji). Media are charged by what vendors charge for typical ones.

/// A picture: a megapixel costs 765 (`OpenAI`, high detail), 1,334 (Anthropic) or 258–1,032 tokens (Gemini).
const IMAGE: u64 = 1_000;
/// A message's role and separators.
pub(super) const MESSAGE: u64 = 4;
/// What Anthropic writes into a prompt by itself: its instructions for tools, and for output by a schema.
pub(super) const ANTHROPIC_TOOLS: u64 = 500;
pub(super) const ANTHROPIC_SCHEMA: u64 = 100;
/// The least a document or a sound is charged with: those given by address say nothing of their size.
const LEAST_DOCUMENT: u64 = 1_000;
const LEAST_AUDIO: u64 = 100;
/// Base64 bytes a token: a PDF page is about 100 KB and 2,000 tokens; a second of sound 20–40 KB and 10–32 tokens.
const PAGES_RATIO: u64 = 50;
const AUDIO_RATIO: u64 = 1_000;
/// Base64 bytes a token of a document that is text: four bytes of it are three of the text.
const TEXT_RATIO: u64 = 5;

/// What a medium is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Medium {
    Image,
    Video,
    Audio,
    Document,
}

/// Tokens charged for a medium of so many base64 bytes, which begin with `head`.
pub(super) fn of_medium(medium: Medium, length: usize, head: &[u8]) -> u64 {
    let length = length as u64;
    match medium {
        Medium::Image => IMAGE,
        Medium::Video => IMAGE.max(length / AUDIO_RATIO),
        Medium::Audio => LEAST_AUDIO.max(length / AUDIO_RATIO),
        // PDF and the zipped office formats hold pages; anything else is taken for text.
        Medium::Document if length == 0 || head.starts_with(b"JVBERi") || head.starts_with(b"UEsDB") => {
            LEAST_DOCUMENT.max(length / PAGES_RATIO)
        }
        Medium::Document => length / TEXT_RATIO,
    }
}

/// Quarters of a token in text that is not ASCII alone.
pub(super) fn quarters(text: &[u8]) -> u64 {
    // Small sums of bytes let the compiler use whole vectors.
    text.chunks(64)
        .map(|chunk| {
            let sum = chunk.iter().fold(0_u8, |sum, &byte| {
                sum + u8::from(byte < 0x80)
                    + 2 * u8::from(byte >= 0xc0)
                    + 2 * u8::from(byte >= 0xe0)
                    + 4 * u8::from(byte >= 0xf0)
            });
            u64::from(sum)
        })
        .sum()
}
