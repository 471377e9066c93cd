//! See `mainstay_fuzz::shown`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mainstay_fuzz::shown::check(data));
