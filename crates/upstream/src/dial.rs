//! Making a connection: names resolved anew each time, addresses raced, a proxy's tunnel where one is set, TLS.
//!
//! The caller bounds the whole. Addresses are tried in the order of RFC 8305 in its plainest form: families alternate,
//! the next address starts 250 ms after the last one or as soon as it failed, and the first to answer wins; so a dead
//! IPv6 route costs a quarter of a second, not the connect limit.

use crate::Endpoint;
use crate::endpoint::host_and_port;
use crate::fault::{chain, unreachable};
use crate::io::Stream;
use crate::proxy::{Proxy, ProxySettings};
use crate::tls::Tls;
use canon::Fault;
use http::HeaderValue;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);
/// More addresses than this say nothing new within a connect limit.
const MAX_ADDRESSES: usize = 8;
/// A proxy's answer to CONNECT is a line and a few headers.
const MAX_TUNNEL_HEAD: usize = 8 * 1024;

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

/// A fresh connection.
pub(crate) struct Dialed {
    pub(crate) stream: Stream,
    pub(crate) protocol: Protocol,
    /// How long the TCP handshake took: one round trip.
    pub(crate) round_trip: Duration,
    /// Requests name the whole URL, for a proxy that is not tunnelled through.
    pub(crate) via: Option<Via>,
}

/// What a request must carry for a proxy that forwards it.
#[derive(Debug, Clone)]
pub(crate) struct Via {
    pub(crate) authorization: Option<HeaderValue>,
}

/// Makes connections.
pub(crate) struct Dialer {
    pub(crate) tls: Tls,
    pub(crate) proxies: ProxySettings,
}

impl Dialer {
    /// Connects to an endpoint. `prior_knowledge`: HTTP/2 without TLS.
    pub(crate) async fn dial(&self, endpoint: &Endpoint, prior_knowledge: bool) -> Result<Dialed, Fault> {
        let proxy = self.proxies.for_endpoint(endpoint);
        let (host, port) = proxy.map_or((endpoint.host.as_str(), endpoint.port), |p| (p.host.as_str(), p.port));
        let (mut tcp, round_trip) = connect(host, port).await?;
        if !endpoint.https {
            let protocol = if prior_knowledge && proxy.is_none() { Protocol::Http2 } else { Protocol::Http1 };
            let via = proxy.map(|p| Via { authorization: p.authorization.clone() });
            return Ok(Dialed { stream: Stream::Plain(tcp), protocol, round_trip, via });
        }
        if let Some(proxy) = proxy {
            tunnel(&mut tcp, proxy, endpoint).await?;
        }
        let tls = self.tls.connect(&endpoint.host, tcp).await?;
        let protocol = match tls.get_ref().1.alpn_protocol() {
            Some(b"h2") => Protocol::Http2,
            _ => Protocol::Http1,
        };
        Ok(Dialed { stream: Stream::Tls(Box::new(tls)), protocol, round_trip, via: None })
    }
}

/// A TCP connection without Nagle's delay, and the time its handshake took.
async fn connect(host: &str, port: u16) -> Result<(TcpStream, Duration), Fault> {
    connect_by(resolve, host, port).await
}

/// Looks the name up, every time, and connects.
async fn connect_by(
    lookup: impl AsyncFn(&str, u16) -> io::Result<Vec<SocketAddr>>,
    host: &str,
    port: u16,
) -> Result<(TcpStream, Duration), Fault> {
    let fail = |what: &str, e: &io::Error| unreachable(format!("{what} {}: {}", host_and_port(host, port), chain(e)));
    let addresses = lookup(host, port).await.map_err(|e| fail("resolving", &e))?;
    let started = Instant::now();
    let tcp = race(addresses).await.map_err(|e| fail("connecting to", &e))?;
    let round_trip = started.elapsed();
    tcp.set_nodelay(true).map_err(|e| fail("setting up", &e))?;
    Ok((tcp, round_trip))
}

async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let found: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
    if found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(alternate(found))
}

/// The families in turn, beginning with the resolver's first choice.
fn alternate(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = found.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = found.into_iter().partition(|a| a.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut order = Vec::new();
    while order.len() < MAX_ADDRESSES {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            break;
        }
        order.extend(pair.into_iter().flatten());
    }
    order
}

async fn race(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    if let [only] = addresses.as_slice() {
        return TcpStream::connect(only).await;
    }
    let mut race = Race { waiting: addresses.into_iter(), running: Vec::new(), last_error: None };
    let mut timer = pin!(sleep(NEXT_ADDRESS_AFTER));
    std::future::poll_fn(|cx| race.poll(cx, timer.as_mut())).await
}

type Attempt = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

struct Race {
    waiting: std::vec::IntoIter<SocketAddr>,
    running: Vec<Attempt>,
    last_error: Option<io::Error>,
}

impl Race {
    fn poll(&mut self, cx: &mut Context<'_>, mut timer: Pin<&mut Sleep>) -> Poll<io::Result<TcpStream>> {
        loop {
            let mut won = None;
            let before = self.running.len();
            self.running.retain_mut(|attempt| match attempt.as_mut().poll(cx) {
                Poll::Pending => true,
                Poll::Ready(Ok(tcp)) => {
                    won = Some(tcp);
                    false
                }
                Poll::Ready(Err(error)) => {
                    self.last_error = Some(error);
                    false
                }
            });
            if let Some(tcp) = won {
                return Poll::Ready(Ok(tcp));
            }
            let one_failed = self.running.len() < before;
            let is_next_due = one_failed || self.running.is_empty() || timer.as_mut().poll(cx).is_ready();
            if !is_next_due {
                return Poll::Pending;
            }
            match self.waiting.next() {
                Some(address) => {
                    self.running.push(Box::pin(TcpStream::connect(address)));
                    timer.as_mut().reset(Instant::now() + NEXT_ADDRESS_AFTER);
                }
                None if self.running.is_empty() => {
                    let error = self.last_error.take();
                    return Poll::Ready(Err(error.unwrap_or_else(|| io::ErrorKind::NotConnected.into())));
                }
                None => return Poll::Pending,
            }
        }
    }
}

/// Opens a tunnel through a proxy (RFC 9110 §9.3.6).
async fn tunnel(tcp: &mut TcpStream, proxy: &Proxy, endpoint: &Endpoint) -> Result<(), Fault> {
    let broken = |e: &io::Error| unreachable(format!("tunnel through proxy {proxy:?}: {}", chain(e)));
    let target = host_and_port(&endpoint.host, endpoint.port);
    let mut head = format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n").into_bytes();
    if let Some(authorization) = &proxy.authorization {
        head.extend_from_slice(b"proxy-authorization: ");
        head.extend_from_slice(authorization.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    tcp.write_all(&head).await.map_err(|e| broken(&e))?;

    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        // Byte by byte: what follows the head belongs to TLS. A tunnel is opened once per connection.
        let byte = tcp.read_u8().await.map_err(|e| broken(&e))?;
        answer.push(byte);
        if answer.len() > MAX_TUNNEL_HEAD {
            return Err(unreachable(format!("tunnel through proxy {proxy:?}: its answer's head is too large")));
        }
    }
    let text = String::from_utf8_lossy(&answer);
    let status = text.split_whitespace().nth(1).unwrap_or_default();
    if text.starts_with("HTTP/1.") && status.len() == 3 && status.starts_with('2') {
        return Ok(());
    }
    Err(unreachable(format!("proxy {proxy:?} refused a tunnel to {target} with status {status}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_has_nagles_delay_off() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (tcp, _) = connect("127.0.0.1", listener.local_addr().unwrap().port()).await.unwrap();
        assert!(tcp.nodelay().unwrap());
    }

    #[tokio::test]
    async fn a_name_is_resolved_again_for_every_connection() {
        let old = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let new = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let moved = std::sync::atomic::AtomicBool::new(false);
        let lookup = async |_: &str, _: u16| {
            let now = if moved.load(std::sync::atomic::Ordering::Relaxed) { &new } else { &old };
            Ok(vec![now.local_addr()?])
        };
        let (first, _) = connect_by(&lookup, "provider.test", 443).await.unwrap();
        moved.store(true, std::sync::atomic::Ordering::Relaxed);
        let (second, _) = connect_by(&lookup, "provider.test", 443).await.unwrap();
        assert_eq!(first.peer_addr().unwrap(), old.local_addr().unwrap());
        assert_eq!(second.peer_addr().unwrap(), new.local_addr().unwrap());
    }

    #[test]
    fn address_families_alternate_from_the_resolvers_first_choice() {
        let parse = |list: &[&str]| list.iter().map(|a| a.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let found = parse(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"]);
        assert_eq!(alternate(found), parse(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"]));
        assert_eq!(alternate(Vec::new()), Vec::new());
    }

    #[tokio::test]
    async fn a_refused_address_yields_to_the_next_one_at_once() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dead = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let alive = listener.local_addr().unwrap();
        let tcp = race(vec![dead, alive]).await.unwrap();
        assert_eq!(tcp.peer_addr().unwrap(), alive);
        assert!(race(vec![dead, dead]).await.is_err());
    }
}
