//! Proxies: forwarding for http, tunnels for https.

use crate::support::{Server, ask, call, fault_of, read_head, read_request, soon, text};
use crate::tls::{self, Authority};
use canon::{FaultClass, Phase};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use upstream::{ProxySettings, Settings, Transport, Upstream};

fn proxied(server: &Server, settings: Settings) -> Upstream {
    let url = format!("http://user:pass@127.0.0.1:{}", server.port);
    let proxies = ProxySettings::from_variables([("ALL_PROXY", url.as_str()), ("NO_PROXY", "direct.invalid")]).unwrap();
    Upstream::new(Settings { proxies, ..settings }).unwrap()
}

#[tokio::test]
async fn http_is_forwarded_with_the_whole_url_and_the_proxys_credentials() {
    let (heads, mut seen) = mpsc::channel(1);
    let server = Server::start(move |_, mut stream| {
        let heads = heads.clone();
        async move {
            while let Some((head, _)) = read_request(&mut stream).await {
                heads.send(head).await.unwrap();
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await.unwrap();
            }
        }
    })
    .await;
    let upstream = proxied(&server, Settings::default());
    for _ in 0..2 {
        assert_eq!(ask(&upstream, "http://model.test:8080/v1").await.unwrap(), "hello");
        let head = seen.recv().await.unwrap();
        assert!(head.starts_with("POST http://model.test:8080/v1/chat?x=1 HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("\r\nhost: model.test:8080\r\n"), "{head}");
        assert!(head.contains("\r\nproxy-authorization: Basic dXNlcjpwYXNz\r\n"), "{head}");
    }
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn https_goes_through_a_tunnel_and_the_certificate_is_the_endpoints() {
    let (heads, mut seen) = mpsc::channel(1);
    let authority = Authority::new();
    let acceptor = authority.acceptor("model.test", &["h2"]);
    let server = Server::start(move |_, mut stream| {
        let (heads, acceptor) = (heads.clone(), acceptor.clone());
        async move {
            heads.send(read_head(&mut stream).await.unwrap()).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 Connection established\r\nvia: test\r\n\r\n").await.unwrap();
            tls::serve(acceptor, stream).await;
        }
    })
    .await;
    let upstream = proxied(&server, authority.settings());
    for _ in 0..2 {
        assert_eq!(ask(&upstream, "https://model.test/v1").await.unwrap(), "hello");
    }
    let head = seen.recv().await.unwrap();
    assert_eq!(
        head,
        "CONNECT model.test:443 HTTP/1.1\r\nhost: model.test:443\r\nproxy-authorization: Basic dXNlcjpwYXNz\r\n\r\n"
    );
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn a_proxy_that_refuses_a_tunnel_is_named_with_its_status() {
    for answer in ["HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "nonsense\r\n\r\n", ""] {
        let server = Server::start(move |_, mut stream| async move {
            read_head(&mut stream).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        })
        .await;
        let fault = ask(&proxied(&server, Settings::default()), "https://model.test").await.unwrap_err();
        assert_eq!(fault.class, FaultClass::Unreachable);
        assert!(fault.message.contains(&format!("127.0.0.1:{}", server.port)), "{}", fault.message);
        assert_eq!(fault.message.contains("407"), answer.contains("407"));
        assert!(!fault.message.contains("pass"));
    }
}

#[tokio::test]
async fn a_proxy_that_hangs_ends_at_the_connect_limit() {
    let server = Server::start(|_, stream| async move {
        let _held = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let mut request = call("https://model.test", "");
    request.connect = Duration::from_millis(50);
    let fault = fault_of(soon(proxied(&server, Settings::default()).send(request)).await);
    assert_eq!((fault.class, fault.phase), (FaultClass::TimedOut, Some(Phase::Connect)));
}

#[tokio::test]
async fn loopback_and_no_proxy_names_are_reached_directly() {
    let proxy = crate::support::answering("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nproxy").await;
    let direct = crate::support::answering("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\ndirect").await;
    let upstream = proxied(&proxy, Settings::default());
    let reply = soon(upstream.send(call(&direct.url(), ""))).await.unwrap();
    assert_eq!(text(reply.body).await.unwrap(), "direct");
    let fault = ask(&upstream, "http://direct.invalid").await.unwrap_err();
    assert!(fault.message.contains("resolving direct.invalid"), "{}", fault.message);
}
