//! Recording changes nothing of what a sniffer says; what it records of text is what the decoder decodes; and an encoder that
//! goes on from it writes whole events.

use bytes::{Bytes, BytesMut};
use canon::{DialectName, Drops, Event, FinishReason};
use dialect::profile::Profile;
use dialect::{Shown, StreamShape, inbound, outbound, sse};

/// First byte: the dialect; the rest is a stream.
pub fn check(data: &[u8]) {
    let [dialect, stream @ ..] = data else { return };
    let dialect = DialectName::ALL[usize::from(*dialect) % DialectName::ALL.len()];
    let (frames, _) = sse::frames(Bytes::copy_from_slice(stream));
    let profile = Profile::default();
    let (mut plain, mut recording) = (outbound(dialect).sniffer(&profile), outbound(dialect).sniffer(&profile));
    recording.record();
    let mut decoder = outbound(dialect).stream_decoder(&profile);
    let (mut text, mut comparable) = (String::new(), true);
    for frame in &frames {
        let before = recording.shown().expect("recorded").clone();
        let mark = before.mark();
        let sniffed = recording.sniff(frame);
        assert_eq!(sniffed, plain.sniff(frame));
        let mut events = Vec::new();
        let read = decoder.decode(frame, &mut events);
        let shown = recording.shown().expect("recorded");
        assert!(shown.text.starts_with(&before.text) && shown.bytes() >= shown.text.len());
        let mut back = shown.clone();
        back.rewind(&mark);
        assert_eq!(back, before);
        // A reader that skips a frame, or takes the stream for failed or finished, may say less from there on.
        comparable &= read.is_ok() && !sniffed.malformed && sniffed.error.is_none() && sniffed.finish.is_none();
        comparable &= shown.obstacle.is_none() && shown.tool_calls == 0;
        if comparable {
            for event in &events {
                if let Event::Text { candidate: 0, text: piece, .. } = event {
                    text.push_str(piece);
                }
            }
            assert_eq!(shown.text, text, "{frame:?}");
        }
    }
    go_on(dialect, recording.shown().expect("recorded"));
}

fn go_on(dialect: DialectName, shown: &Shown) {
    let mut encoder = inbound(dialect).resume_encoder(StreamShape::default(), shown);
    let (mut out, mut drops) = (BytesMut::new(), Drops::new());
    let finish = Event::Finish { candidate: 0, reason: FinishReason::Stop, native: None, stop_sequence: None };
    for event in [Event::Text { candidate: 0, text: "rest".to_owned(), signature: None }, finish, Event::Done] {
        encoder.encode(&event, &mut out, &mut drops);
    }
    let (frames, residue) = sse::frames(out.freeze());
    assert!(residue.is_empty() && !frames.is_empty());
    let profile = Profile::default();
    let mut sniffer = outbound(dialect).sniffer(&profile);
    assert!(frames.iter().all(|frame| !sniffer.sniff(frame).malformed));
}
