//! Calls to make and raw servers to meet.

use bytes::Bytes;
use canon::Fault;
use http::{HeaderMap, Method};
use http_body_util::BodyExt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use upstream::{AnswerBody, Call, Endpoint, Reply, Settings, Transport, Upstream};

/// A cancelled call must reach the provider within this.
pub(crate) const CANCEL_LIMIT: Duration = Duration::from_millis(100);

/// Bounds a step of a test.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("the step took too long")
}

pub(crate) fn upstream() -> Upstream {
    Upstream::new(Settings::default()).unwrap()
}

pub(crate) fn call(url: &str, body: impl Into<Bytes>) -> Call {
    Call {
        endpoint: Arc::new(Endpoint::parse(url).unwrap()),
        method: Method::POST,
        path: "/chat?x=1".to_owned(),
        headers: HeaderMap::new(),
        body: body.into(),
        connect: Duration::from_secs(15),
    }
}

pub(crate) async fn text(body: AnswerBody) -> Result<String, Fault> {
    let bytes = soon(body.collect()).await?.to_bytes();
    Ok(String::from_utf8(bytes.to_vec()).unwrap())
}

/// Sends and reads to the end.
pub(crate) async fn ask(upstream: &Upstream, url: &str) -> Result<String, Fault> {
    let reply = soon(upstream.send(call(url, "question"))).await?;
    text(reply.body).await
}

pub(crate) fn fault_of(outcome: Result<Reply, Fault>) -> Fault {
    match outcome {
        Ok(reply) => panic!("expected a fault, got status {}", reply.status),
        Err(fault) => fault,
    }
}

/// A listener whose connections are served by `serve`, which is told their number.
pub(crate) struct Server {
    pub(crate) port: u16,
    accepted: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) async fn start<F, Fut>(serve: F) -> Self
    where
        F: Fn(usize, TcpStream) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(count.fetch_add(1, Ordering::SeqCst), stream));
            }
        });
        Self { port, accepted }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }

    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

/// One HTTP/1.1 request: its head as text and its body. `None` at the end of the connection.
pub(crate) async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<(String, Vec<u8>)> {
    let head = read_head(stream).await?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((head, body))
}

pub(crate) async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

/// A server that gives the same raw answer to every request on every connection.
pub(crate) async fn answering(answer: impl Into<Vec<u8>>) -> Server {
    let answer: Arc<[u8]> = answer.into().into();
    Server::start(move |_, mut stream| {
        let answer = Arc::clone(&answer);
        async move {
            while read_request(&mut stream).await.is_some() {
                stream.write_all(&answer).await.unwrap();
            }
        }
    })
    .await
}

/// A server that gives one raw answer and closes.
pub(crate) async fn answering_once(answer: &'static str) -> Server {
    Server::start(move |_, mut stream| async move {
        read_request(&mut stream).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await
}
