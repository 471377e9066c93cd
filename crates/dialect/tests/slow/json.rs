//! What the scan takes for JSON, said once more with `serde_json`. Tests and fuzz targets compare with it.

/// Whether a text is JSON: grammar by `serde_json`, nesting counted by hand.
pub(crate) fn is_json(text: &[u8]) -> bool {
    let mut depth = 0_u32;
    let mut in_string = false;
    let mut escaped = false;
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                if depth >= 128 {
                    return false;
                }
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    serde_json::from_slice::<&serde_json::value::RawValue>(text).is_ok()
}
