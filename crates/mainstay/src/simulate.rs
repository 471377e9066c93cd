//! `simulate`.
pub(crate) async fn run(_options: &crate::cli::Simulate) -> Result<(), String> {
    Ok(())
}
