//! What the fuzz targets assert. A target is a line that hands its bytes to one of these; each panics on a mismatch.

#[path = "../../crates/dialect/tests/slow/json.rs"]
mod json;
#[path = "../../crates/dialect/tests/slow/tree.rs"]
mod tree;
mod unrepeated;

pub mod decode;
pub mod hint;
pub mod scan;
pub mod shown;
pub mod sse;
