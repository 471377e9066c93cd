//! See `mainstay_fuzz::hint`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mainstay_fuzz::hint::check(data));
