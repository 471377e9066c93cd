//! What the owner of the process decides about upstream connections. The defaults are the shipped ones.

use crate::ProxySettings;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::fmt;
use std::time::Duration;

/// How connections are made and kept.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Proxies, usually from the environment.
    pub proxies: ProxySettings,
    /// Certificates (DER) trusted besides the system's: private authorities. See [`Settings::trust_pem`].
    pub extra_roots: Vec<Vec<u8>>,
    /// `host:port` of endpoints without TLS that speak HTTP/2 from the first byte.
    pub h2c_hosts: Vec<String>,
    /// A connection unused this long is closed.
    pub idle_limit: Duration,
    /// A connection this old takes no new call; addresses and certificates change.
    pub age_limit: Duration,
    /// At most this many idle HTTP/1.1 connections are kept per endpoint.
    pub max_idle: usize,
    /// At most this many calls at once cross one HTTP/2 connection, whatever the peer allows.
    pub max_streams: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            proxies: ProxySettings::default(),
            extra_roots: Vec::new(),
            h2c_hosts: Vec::new(),
            idle_limit: Duration::from_secs(90),
            age_limit: Duration::from_secs(600),
            max_idle: 256,
            max_streams: 100,
        }
    }
}

impl Settings {
    /// Trusts the certificates of a PEM text besides the system's. Returns how many there were.
    pub fn trust_pem(&mut self, pem: &[u8]) -> Result<usize, SettingsError> {
        let before = self.extra_roots.len();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|e| SettingsError(format!("not a PEM certificate: {e}")))?;
            self.extra_roots.push(certificate.to_vec());
        }
        match self.extra_roots.len() - before {
            0 => Err(SettingsError("no certificate found, expected PEM text with at least one".to_owned())),
            found => Ok(found),
        }
    }
}

/// Why settings cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError(pub(crate) String);

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SettingsError {}
