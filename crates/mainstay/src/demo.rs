//! `demo`.
pub(crate) async fn run(_options: &crate::cli::Demo) -> Result<(), String> {
    Ok(())
}
