//! A request that was read and written again reads the same.

use canon::{DialectName, Drops};
use dialect::profile::Profile;
use dialect::{PathFacts, inbound, outbound};

/// The bytes are a request body of the dialect.
pub fn check(dialect: DialectName, body: &[u8]) {
    let path = PathFacts { model: Some("some-model".to_owned()), ..PathFacts::default() };
    let Ok(request) = inbound(dialect).decode_request(&path, body) else { return };
    let mut drops = Drops::new();
    let profile = Profile::default();
    let encoded = outbound(dialect).encode_request(&request, &request.model, &profile, &mut drops);
    let Ok(encoded) = encoded else { return };
    let again = inbound(dialect)
        .decode_request(&path, &encoded.body)
        .unwrap_or_else(|bad| panic!("{bad:?}: {}", String::from_utf8_lossy(&encoded.body)));
    if drops.is_empty() {
        assert_eq!(again, request, "{}", String::from_utf8_lossy(&encoded.body));
    }
}
