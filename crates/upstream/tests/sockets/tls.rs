//! TLS: private authorities, ALPN, what a refused certificate looks like.

use crate::http2;
use crate::support::{Server, ask, read_request, soon};
use canon::FaultClass;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use upstream::{Settings, Upstream};

/// A certificate authority made for one test.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Settings that trust it.
    pub(crate) fn settings(&self) -> Settings {
        let mut settings = Settings::default();
        assert_eq!(settings.trust_pem(self.0.pem().as_bytes()), Ok(1));
        settings
    }

    pub(crate) fn acceptor(&self, name: &str, alpn: &[&str]) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// Serves a TLS connection with whatever was agreed on.
pub(crate) async fn serve(acceptor: TlsAcceptor, stream: TcpStream) {
    let Ok(mut tls) = acceptor.accept(stream).await else { return };
    if tls.get_ref().1.alpn_protocol() == Some(b"h2") {
        return http2::serve(tls, None, http2::hello).await;
    }
    while read_request(&mut tls).await.is_some() {
        tls.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await.unwrap();
        tls.flush().await.unwrap();
    }
}

async fn tls_server(authority: &Authority, name: &str, alpn: &[&str]) -> Server {
    let acceptor = authority.acceptor(name, alpn);
    Server::start(move |_, stream| serve(acceptor.clone(), stream)).await
}

fn https(server: &Server) -> String {
    format!("https://localhost:{}/v1", server.port)
}

#[tokio::test]
async fn the_peer_chooses_the_protocol_and_the_connection_is_kept() {
    for (alpn, shared, idle) in [(&["h2", "http/1.1"][..], 1, 0), (&["http/1.1"], 0, 1), (&[], 0, 1)] {
        let authority = Authority::new();
        let server = tls_server(&authority, "localhost", alpn).await;
        let upstream = Upstream::new(authority.settings()).unwrap();
        for _ in 0..3 {
            assert_eq!(ask(&upstream, &https(&server)).await.unwrap(), "hello");
        }
        assert_eq!(server.accepted(), 1);
        let stats = &upstream.connections()[0];
        assert_eq!((stats.open, stats.shared, stats.idle), (1, shared, idle));
    }
}

#[tokio::test]
async fn a_burst_to_an_endpoint_never_met_before_makes_one_connection_if_one_is_enough() {
    let authority = Authority::new();
    let server = tls_server(&authority, "localhost", &["h2"]).await;
    let upstream = Upstream::new(authority.settings()).unwrap();
    let tasks: Vec<_> = (0..30)
        .map(|_| {
            let (upstream, url) = (upstream.clone(), https(&server));
            tokio::spawn(async move { ask(&upstream, &url).await })
        })
        .collect();
    for task in tasks {
        assert_eq!(soon(task).await.unwrap().unwrap(), "hello");
    }
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn a_burst_to_an_endpoint_that_speaks_http1_is_answered_too() {
    let authority = Authority::new();
    let server = tls_server(&authority, "localhost", &["http/1.1"]).await;
    let upstream = Upstream::new(authority.settings()).unwrap();
    let tasks: Vec<_> = (0..10)
        .map(|_| {
            let (upstream, url) = (upstream.clone(), https(&server));
            tokio::spawn(async move { ask(&upstream, &url).await })
        })
        .collect();
    for task in tasks {
        assert_eq!(soon(task).await.unwrap().unwrap(), "hello");
    }
}

#[tokio::test]
async fn a_certificate_that_does_not_hold_is_unreachable_for_all_who_waited_and_costs_nothing() {
    let authority = Authority::new();
    let stranger = tls_server(&Authority::new(), "localhost", &["h2"]).await;
    let other_name = tls_server(&authority, "elsewhere.test", &["h2"]).await;
    let upstream = Upstream::new(authority.settings()).unwrap();
    for server in [stranger, other_name] {
        let url = https(&server);
        let faults = tokio::join!(ask(&upstream, &url), ask(&upstream, &url), ask(&upstream, &url));
        for fault in [faults.0, faults.1, faults.2].map(Result::unwrap_err) {
            assert_eq!(fault.class, FaultClass::Unreachable);
            assert!(fault.message.starts_with("TLS"), "{}", fault.message);
            assert!(!fault.may_be_billed && !fault.stale_connection);
        }
        assert_eq!(server.accepted(), 1, "one handshake tells all three");
    }
}

#[tokio::test]
async fn a_server_without_tls_is_unreachable() {
    let server = Server::start(|_, mut stream| async move {
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let fault = ask(&crate::support::upstream(), &https(&server)).await.unwrap_err();
    assert_eq!(fault.class, FaultClass::Unreachable);
}

#[test]
fn what_is_no_certificate_is_refused_when_the_settings_are_made() {
    let mut settings = Settings::default();
    assert!(settings.trust_pem(b"nothing here").is_err());
    settings.extra_roots.push(vec![1, 2, 3]);
    assert!(Upstream::new(settings).is_err());
}
