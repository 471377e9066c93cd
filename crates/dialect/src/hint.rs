//! The hint grammar of `providers.md` §4.10: when may a limited credential be used again?
