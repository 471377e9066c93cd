//! A stream yields the same frames however it is cut.

use bytes::Bytes;
use dialect::sse::{Decoder, Frame, TooLarge};

/// First byte: the limit; second: how many cuts; then the lengths between them; the rest is the stream.
pub fn check(data: &[u8]) {
    let [limit, cuts, rest @ ..] = data else { return };
    let (lengths, stream) = rest.split_at(usize::from(*cuts).min(rest.len()));
    let limit = if *limit == 0 { usize::MAX } else { usize::from(*limit) };
    let stream = Bytes::copy_from_slice(stream);
    let mut at = 0;
    let mut places = Vec::new();
    for length in lengths {
        at = (at + usize::from(*length)).min(stream.len());
        places.push(at);
    }
    let whole = decode(&stream, &[], limit, true);
    assert_eq!(decode(&stream, &places, limit, true), whole, "drained after each chunk");
    assert_eq!(decode(&stream, &places, limit, false), whole, "drained at the end");
    let every: Vec<usize> = (0..stream.len()).collect();
    assert_eq!(decode(&stream, &every, limit, true), whole, "byte by byte");
    let kept: usize = whole.0.iter().flatten().map(|frame| frame.raw.len()).sum();
    assert!(kept + whole.1.len() <= stream.len());
}

fn decode(stream: &Bytes, cuts: &[usize], limit: usize, drain: bool) -> (Vec<Result<Frame, TooLarge>>, Bytes) {
    let mut decoder = Decoder::new(limit);
    let mut frames = Vec::new();
    let mut from = 0;
    for cut in cuts.iter().copied().chain([stream.len()]) {
        decoder.push(stream.slice(from..cut));
        from = cut;
        if drain || cut == stream.len() {
            frames.extend(std::iter::from_fn(|| decoder.next_frame()));
        }
    }
    frames.extend(std::iter::from_fn(|| decoder.next_frame()));
    (frames, decoder.residue())
}
