//! Sniffs a typical stream of a dialect over and over, recording it or not, so that an instruction counter can tell
//! what recording costs a chunk: `valgrind --tool=callgrind sniff openai-chat on 1000`.

use bytes::Bytes;
use canon::DialectName;
use dialect::profile::Profile;
use dialect::sse;
use std::error::Error;
use std::fmt::Write as _;
use std::hint::black_box;

/// Words as models stream them: one in eight holds an escape.
const WORDS: [&str; 8] = [" the", " quick", " brown", ".\\n\\n", " fox", " jumps", " über", " \u{1F98A}"];

/// Content chunks of one stream.
const CHUNKS: usize = 200;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or("usage: sniff DIALECT on|off STREAMS");
    let (name, recording, streams) = (next()?, next()? == "on", next()?.parse::<usize>()?);
    let dialect = DialectName::ALL.into_iter().find(|dialect| dialect.as_str() == name).ok_or("no such dialect")?;
    let stream = Bytes::from(stream(dialect));
    for _ in 0..streams {
        let mut sniffer = dialect::outbound(dialect).sniffer(&Profile::default());
        if recording {
            sniffer.record();
        }
        let mut decoder = sse::Decoder::new(usize::MAX);
        decoder.push(stream.clone());
        while let Some(Ok(frame)) = decoder.next_frame() {
            black_box(sniffer.sniff(&frame));
        }
        black_box(sniffer.shown().map(|shown| shown.text.len()));
    }
    Ok(())
}

fn stream(dialect: DialectName) -> String {
    let mut out = String::new();
    if dialect == DialectName::AnthropicMessages {
        out.push_str(concat!(
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_01XFDUDYJgAACzvnptvVoYEL\",",
            "\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-sonnet-5\",\"content\":[],\"stop_reason\":null,",
            "\"stop_sequence\":null,\"usage\":{\"input_tokens\":25,\"output_tokens\":1}}}\n\nevent: content_block_start\n",
            "data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
        ));
    }
    for word in WORDS.iter().cycle().take(CHUNKS) {
        // Writing into a String cannot fail.
        let _ = match dialect {
            DialectName::OpenaiChat => write!(
                out,
                "data: {{\"id\":\"chatcmpl-9lMgfRSWPHcw51s6wxKT1YEO2CKpd\",\"object\":\"chat.completion.chunk\",\
                 \"created\":1721075653,\"model\":\"gpt-4o-mini-2024-07-18\",\"service_tier\":\"default\",\
                 \"system_fingerprint\":\"fp_8b761cb050\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{word}\"}},\
                 \"logprobs\":null,\"finish_reason\":null}}],\"usage\":null,\"obfuscation\":\"Ar7nQ\"}}\n\n"
            ),
            DialectName::AnthropicMessages => write!(
                out,
                "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\
                 \"delta\":{{\"type\":\"text_delta\",\"text\":\"{word}\"}}}}\n\n"
            ),
            DialectName::Gemini => write!(
                out,
                "data: {{\"candidates\": [{{\"content\": {{\"parts\": [{{\"text\": \"{word}\"}}],\"role\": \"model\"}},\
                 \"index\": 0}}],\"usageMetadata\": {{\"promptTokenCount\": 8,\"candidatesTokenCount\": 20,\
                 \"totalTokenCount\": 28,\"promptTokensDetails\": [{{\"modality\": \"TEXT\",\"tokenCount\": 8}}]}},\
                 \"modelVersion\": \"gemini-3-flash\",\"responseId\": \"lmnoaOS2Ms2nkdUPsrWm4Ag\"}}\r\n\r\n"
            ),
        };
    }
    out
}
