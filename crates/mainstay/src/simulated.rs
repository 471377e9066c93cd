//! The simulated providers that stand in when nothing is configured.

/// Running simulated providers.
pub(crate) struct Simulated;

impl Simulated {
    pub(crate) async fn start() -> Result<Self, String> {
        Err("not yet".to_owned())
    }
    pub(crate) fn configuration(&self) -> String {
        String::new()
    }
}

pub(crate) fn example_configuration() -> String {
    String::new()
}
