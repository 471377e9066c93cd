//! The gateway behind a real socket, and a client that writes and reads bytes. Every wait is bounded.

use super::memory::Plan;
use super::{path, snapshot};
use canon::DialectName;
use gateway::Gateway;
use gateway::server::{self, ShutdownTimes};
use health::Health;
use simulator::{Pace, Provider, Server, Simulator};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use upstream::{Settings, Transport, Upstream};

/// Longest any step of a socket test may take; nothing waits that long unless it is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A serving gateway and its two simulated providers, all behind sockets.
pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) primary: Server,
    pub(crate) fallback: Server,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

/// Starts a gateway over a transport of the test's own.
pub(crate) async fn serve(
    gateway: Arc<Gateway>,
    times: ShutdownTimes,
) -> (SocketAddr, oneshot::Sender<()>, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    #[expect(clippy::disallowed_methods, reason = "one server a test")]
    let serving = tokio::spawn(async move {
        let stopped = async {
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        server::serve(gateway, listener, times, stopped).await;
    });
    (address, stop, serving)
}

impl Site {
    /// Starts everything.
    pub(crate) async fn start(plan: Plan) -> Self {
        Self::start_with(plan, ShutdownTimes::default(), Settings::default()).await
    }

    /// Starts everything, with these times and upstream settings.
    pub(crate) async fn start_with(plan: Plan, times: ShutdownTimes, mut settings: Settings) -> Self {
        let server = async |name: &str, dialect: DialectName| {
            let provider = Provider::new(name, dialect).at_pace(Pace::default());
            Server::start(Simulator::new(provider)).await.unwrap()
        };
        let (primary, fallback) = (server("primary", plan.primary).await, server("fallback", plan.fallback).await);
        let base = |server: &Server| format!("http://{}", server.address());
        let snapshot = snapshot(&plan.yaml(&base(&primary), &base(&fallback)), &Arc::new(Health::new(plan.seed)));
        for host in &mut settings.h2c_hosts {
            *host = host.replace("PRIMARY", &primary.address().to_string());
        }
        let transport: Arc<dyn Transport> = Arc::new(Upstream::new(settings).unwrap());
        let gateway = Arc::new(Gateway::new(snapshot, transport, plan.seed).unwrap());
        let (address, stop, serving) = serve(gateway.clone(), times).await;
        Self { address, gateway, primary, fallback, stop: Some(stop), serving }
    }

    /// Connects.
    pub(crate) async fn connect(&self) -> Wire {
        Wire::connect(self.address).await
    }

    /// Begins the end of the process, as SIGTERM does.
    pub(crate) fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop.send(()).unwrap();
        }
    }

    /// Waits for the server to end.
    pub(crate) async fn ended(self) {
        tokio::time::timeout(PATIENCE, self.serving).await.expect("in time").unwrap();
    }
}

/// A client's connection.
pub(crate) struct Wire {
    pub(crate) socket: TcpStream,
    read: Vec<u8>,
}

/// The head of a request with a body of this length.
pub(crate) fn head(dialect: DialectName, stream: bool, length: usize, more: &str) -> String {
    format!(
        "POST {} HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{more}\r\n",
        path(dialect, stream)
    )
}

impl Wire {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self { socket: TcpStream::connect(address).await.unwrap(), read: Vec::new() }
    }

    /// Writes everything before reading anything, as many HTTP clients do. `false` = the other side reset us.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> bool {
        tokio::time::timeout(PATIENCE, self.socket.write_all(bytes)).await.expect("writes in time").is_ok()
    }

    /// Sends a request with this body.
    pub(crate) async fn ask(&mut self, dialect: DialectName, stream: bool, body: &[u8], more: &str) {
        let head = head(dialect, stream, body.len(), more);
        assert!(self.write(head.as_bytes()).await && self.write(body).await);
    }

    /// Reads until the text so far satisfies `enough`, or the other side closes.
    pub(crate) async fn until(&mut self, enough: impl Fn(&str) -> bool) -> String {
        let reading = async {
            let mut piece = vec![0; 64 << 10];
            loop {
                let text = String::from_utf8_lossy(&self.read).into_owned();
                if enough(&text) {
                    return text;
                }
                match self.socket.read(&mut piece).await {
                    Ok(0) | Err(_) => return text,
                    Ok(n) => self.read.extend_from_slice(&piece[..n]),
                }
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.expect("reads in time")
    }

    /// Reads to the end of the connection.
    pub(crate) async fn rest(&mut self) -> String {
        self.until(|_| false).await
    }

    /// Reads a head and the body its `content-length` announces, or a chunked one to its end.
    pub(crate) async fn answer(&mut self) -> String {
        self.until(is_whole).await
    }
}

/// Whether a response is here with its body.
fn is_whole(text: &str) -> bool {
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let head = head.to_ascii_lowercase();
    match head.lines().find_map(|line| line.strip_prefix("content-length: ")) {
        Some(length) => body.len() >= length.parse::<usize>().unwrap(),
        None if head.contains("transfer-encoding: chunked") => body.ends_with("0\r\n\r\n"),
        None => false,
    }
}

/// The status of a response.
pub(crate) fn status(text: &str) -> u16 {
    text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("no status in {text:?}"))
}

/// Waits until `condition` holds, within `limit`.
pub(crate) async fn holds(limit: Duration, condition: impl Fn() -> bool) -> bool {
    let looking = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(limit, looking).await.is_ok()
}
