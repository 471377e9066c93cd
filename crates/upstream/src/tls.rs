//! TLS to providers: certificates are always checked, there is no switch to turn that off.
//!
//! Reading the system's certificates takes milliseconds, so it waits until the first TLS connection: the process starts
//! without it. Where the system has none (a bare container), the bundled Mozilla list stands in.

use crate::fault::{chain, unreachable};
use crate::settings::SettingsError;
use canon::Fault;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub(crate) struct Tls {
    extra_roots: Vec<CertificateDer<'static>>,
    connector: OnceCell<TlsConnector>,
}

impl Tls {
    /// Checks the extra certificates now, while the configuration can still be refused.
    pub(crate) fn new(extra_roots: &[Vec<u8>]) -> Result<Self, SettingsError> {
        let extra_roots: Vec<_> = extra_roots.iter().map(|der| CertificateDer::from(der.clone())).collect();
        let mut store = RootCertStore::empty();
        for certificate in &extra_roots {
            store
                .add(certificate.clone())
                .map_err(|e| SettingsError(format!("an extra root certificate is not usable: {e}")))?;
        }
        Ok(Self { extra_roots, connector: OnceCell::new() })
    }

    /// Shakes hands as a client of `host`. The caller bounds the time.
    pub(crate) async fn connect(&self, host: &str, stream: TcpStream) -> Result<TlsStream<TcpStream>, Fault> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| unreachable(format!("TLS: `{host}` is no name a certificate can be for")))?;
        let connector = self.connector.get_or_try_init(|| self.load()).await?;
        connector.connect(name, stream).await.map_err(|e| unreachable(format!("TLS with {host}: {}", chain(&e))))
    }

    async fn load(&self) -> Result<TlsConnector, Fault> {
        let extra = self.extra_roots.clone();
        tokio::task::spawn_blocking(move || configure(extra))
            .await
            .map_err(|e| unreachable(format!("TLS: loading certificates: {e}")))?
    }
}

fn configure(extra: Vec<CertificateDer<'static>>) -> Result<TlsConnector, Fault> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots.add_parsable_certificates(extra);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| unreachable(format!("TLS: {e}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}
