//! Ids made up where none was given: deterministic, so that a retry and a replay of the same exchange agree.

/// FNV-1a over the pieces (a separator between them), then an avalanche step, since ids keep only some of the bits.
pub(super) fn hash(pieces: &[&str]) -> u64 {
    let mut state: u64 = 0xcbf2_9ce4_8422_2325;
    for piece in pieces {
        for byte in piece.bytes().chain(std::iter::once(0xff)) {
            state = (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

/// `length` letters and digits that stand for `value`.
fn alphanumeric(mut value: u64, length: usize) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut text = String::with_capacity(length);
    for _ in 0..length {
        let digit = usize::try_from(value % 62).unwrap_or(0);
        text.push(char::from(DIGITS.get(digit).copied().unwrap_or(b'0')));
        value /= 62;
    }
    text
}

/// The id of a tool call that came without one.
pub(super) fn call_id(pieces: &[&str]) -> String {
    format!("call_{:016x}", hash(pieces))
}

/// The nine letters and digits some targets (older Mistral models) insist on; an id that has that form stays.
pub(super) fn nine_characters(id: &str) -> String {
    if id.len() == 9 && id.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return id.to_owned();
    }
    alphanumeric(hash(&[id]), 9)
}

/// Tool call ids longer than this are refused by `OpenAI`.
const LONGEST_ID: usize = 40;

/// An id another vendor made, in a length `OpenAI` takes.
pub(super) fn short(id: &str) -> String {
    if id.len() <= LONGEST_ID { id.to_owned() } else { call_id(&[id]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nine_character_id_is_kept_and_any_other_becomes_one_the_same_every_time() {
        assert_eq!(nine_characters("Ab3dEf9hJ"), "Ab3dEf9hJ");
        let made = nine_characters("toolu_01A09q90qw90lq917835lq9");
        assert_eq!(made.len(), 9);
        assert!(made.bytes().all(|b| b.is_ascii_alphanumeric()));
        assert_eq!(made, nine_characters("toolu_01A09q90qw90lq917835lq9"));
        assert_ne!(made, nine_characters("toolu_01A09q90qw90lq917835lq8"));
    }

    #[test]
    fn pieces_do_not_run_into_each_other() {
        assert_ne!(hash(&["ab", "c"]), hash(&["a", "bc"]));
    }

    #[test]
    fn an_overlong_id_is_replaced() {
        assert_eq!(short("call_1"), "call_1");
        assert_eq!(short(&"x".repeat(41)).len(), 21);
    }
}
