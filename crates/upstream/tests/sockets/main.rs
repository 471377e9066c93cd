//! The transport against small servers on loopback. Time appears as upper bounds only.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![expect(clippy::disallowed_methods, reason = "the servers of the tests are tasks")]

mod http1;
mod http2;
mod proxy;
mod support;
mod tls;
