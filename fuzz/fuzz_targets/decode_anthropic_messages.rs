//! See `mainstay_fuzz::decode`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mainstay_fuzz::decode::check(canon::DialectName::AnthropicMessages, data));
