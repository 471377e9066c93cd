//! HTTP/2: sharing, fan-out, goodbyes, flow control, cancelling.

use crate::support::{CANCEL_LIMIT, Server, ask, call, fault_of, soon, text};
use bytes::Bytes;
use canon::FaultClass;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Barrier, Notify, mpsc};
use upstream::{Settings, Transport, Upstream};

fn upstream_for(server: &Server, settings: Settings) -> Upstream {
    Upstream::new(Settings { h2c_hosts: vec![format!("127.0.0.1:{}", server.port)], ..settings }).unwrap()
}

/// Serves every request of a connection with `handle`, at most `max_streams` at once.
pub(crate) async fn serve<T, F, Fut>(stream: T, max_streams: Option<u32>, handle: F)
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    F: Fn(Request<RecvStream>, SendResponse<Bytes>) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let mut builder = h2::server::Builder::new();
    if let Some(max) = max_streams {
        builder.max_concurrent_streams(max);
    }
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(handle(request, respond));
    }
}

pub(crate) async fn hello(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    drain(request.into_body()).await;
    let mut body = respond.send_response(Response::new(()), false).unwrap();
    body.send_data(Bytes::from_static(b"hello"), true).unwrap();
}

async fn drain(mut body: RecvStream) -> usize {
    let mut total = 0;
    while let Some(Ok(data)) = body.data().await {
        total += data.len();
        body.flow_control().release_capacity(data.len()).unwrap();
    }
    total
}

#[tokio::test]
async fn calls_in_flight_together_share_one_connection() {
    let together = Arc::new(Barrier::new(20));
    let server = Server::start(move |_, stream| {
        let together = Arc::clone(&together);
        serve(stream, None, move |request, respond| {
            let together = Arc::clone(&together);
            async move {
                together.wait().await;
                hello(request, respond).await;
            }
        })
    })
    .await;
    let upstream = upstream_for(&server, Settings::default());
    ask_together(&upstream, &server, 20).await;
    assert_eq!(server.accepted(), 1);
    let stats = &upstream.connections()[0];
    assert_eq!((stats.open, stats.shared, stats.streams), (1, 1, 0));
}

async fn ask_together(upstream: &Upstream, server: &Server, calls: usize) {
    let tasks: Vec<_> = (0..calls)
        .map(|_| {
            let (upstream, url) = (upstream.clone(), server.url());
            tokio::spawn(async move { ask(&upstream, &url).await })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap(), "hello");
    }
}

#[tokio::test]
async fn a_peer_that_takes_one_stream_a_connection_gets_a_connection_for_each_call() {
    for (peer_max, our_max, connections) in [(Some(1), 100, 6), (Some(4), 100, 2), (None, 3, 2)] {
        let together = Arc::new(Barrier::new(6));
        let server = Server::start(move |_, stream| {
            let together = Arc::clone(&together);
            serve(stream, peer_max, move |request, respond| {
                let together = Arc::clone(&together);
                async move {
                    // Answered only when all six are in flight.
                    together.wait().await;
                    hello(request, respond).await;
                }
            })
        })
        .await;
        let upstream = upstream_for(&server, Settings { max_streams: our_max, ..Settings::default() });
        ask_together(&upstream, &server, 6).await;
        assert_eq!(server.accepted(), connections, "peer {peer_max:?}, ours {our_max}");
    }
}

#[tokio::test]
async fn a_request_crosses_with_its_body_and_without_hop_by_hop_headers() {
    let (seen, mut requests) = mpsc::channel(1);
    let server = Server::start(move |_, stream| {
        let seen = seen.clone();
        serve(stream, None, move |request, mut respond| {
            let seen = seen.clone();
            async move {
                let (head, body) = request.into_parts();
                seen.send((head, drain(body).await)).await.unwrap();
                respond.send_response(Response::new(()), true).unwrap();
            }
        })
    })
    .await;
    let mut request = call(&server.url(), vec![b'x'; 5 << 20]);
    request.headers.insert("connection", "keep-alive".parse().unwrap());
    request.headers.insert("te", "trailers".parse().unwrap());
    request.headers.insert("x-kept", "1".parse().unwrap());
    let reply = soon(upstream_for(&server, Settings::default()).send(request)).await.unwrap();
    assert_eq!(text(reply.body).await.unwrap(), "");
    let (head, body) = requests.recv().await.unwrap();
    assert_eq!(body, 5 << 20);
    assert_eq!(head.uri.to_string(), format!("http://127.0.0.1:{}/v1/chat?x=1", server.port));
    let mut names: Vec<_> = head.headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["accept-encoding", "content-length", "x-kept"]);
}

#[tokio::test]
async fn after_a_goodbye_calls_go_to_a_new_connection() {
    let server = Server::start(|number, stream| async move {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let (request, respond) = connection.accept().await.unwrap().unwrap();
        tokio::spawn(hello(request, respond));
        if number == 0 {
            connection.graceful_shutdown();
        }
        while let Some(Ok((request, respond))) = connection.accept().await {
            tokio::spawn(hello(request, respond));
        }
    })
    .await;
    let upstream = upstream_for(&server, Settings::default());
    assert_eq!(ask(&upstream, &server.url()).await.unwrap(), "hello");
    // A call that crosses the goodbye on its way is flagged as free to repeat, never a plain failure.
    for _ in 0..2 {
        match ask(&upstream, &server.url()).await {
            Ok(answer) => assert_eq!(answer, "hello"),
            Err(fault) => assert!(fault.stale_connection, "{fault:?}"),
        }
    }
    assert_eq!(ask(&upstream, &server.url()).await.unwrap(), "hello");
    assert_eq!(server.accepted(), 2);
}

fn frame(kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, 0]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Reads frames up to the first HEADERS, having answered the preface.
async fn raw_until_headers(stream: &mut TcpStream) {
    stream.read_exact(&mut [0; 24]).await.unwrap();
    stream.write_all(&frame(4, 0, &[])).await.unwrap();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await.unwrap();
        if head[3] == 1 {
            return;
        }
    }
}

#[tokio::test]
async fn a_request_the_peer_never_processed_is_flagged_as_free_to_repeat() {
    let goodbye_before_it = frame(7, 0, &[0; 8]);
    let refused = frame(3, 1, &7u32.to_be_bytes());
    for answer in [goodbye_before_it, refused] {
        let server = Server::start(move |_, mut stream| {
            let answer = answer.clone();
            async move {
                raw_until_headers(&mut stream).await;
                stream.write_all(&answer).await.unwrap();
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        })
        .await;
        let fault = ask(&upstream_for(&server, Settings::default()), &server.url()).await.unwrap_err();
        assert_eq!(fault.class, FaultClass::Unreachable);
        assert!(fault.stale_connection && !fault.may_be_billed, "{fault:?}");
    }
}

#[tokio::test]
async fn a_request_that_was_processed_and_lost_may_be_billed_and_is_not_repeated() {
    let internal_error = frame(3, 1, &2u32.to_be_bytes());
    let mut goodbye_after_it = frame(7, 0, &[0, 0, 0, 1, 0, 0, 0, 2]);
    goodbye_after_it.extend(frame(3, 1, &2u32.to_be_bytes()));
    for answer in [internal_error, goodbye_after_it, Vec::new()] {
        let server = Server::start(move |_, mut stream| {
            let answer = answer.clone();
            async move {
                raw_until_headers(&mut stream).await;
                stream.write_all(&answer).await.unwrap();
            }
        })
        .await;
        let fault = ask(&upstream_for(&server, Settings::default()), &server.url()).await.unwrap_err();
        assert_eq!(fault.class, FaultClass::Unreachable);
        assert!(!fault.stale_connection && fault.may_be_billed, "{fault:?}");
    }
}

#[tokio::test]
async fn readers_that_stand_still_take_nothing_from_another_stream() {
    let server = Server::start(|_, stream| {
        serve(stream, None, |request, mut respond| async move {
            let is_flood = request.headers().contains_key("x-flood");
            let mut body = respond.send_response(Response::new(()), false).unwrap();
            if is_flood {
                // Small events, far more than anybody's window: one frame each, as a provider streams.
                let event = Bytes::from_static(&[b'e'; 100]);
                for _ in 0..10_000 {
                    body.reserve_capacity(event.len());
                    while body.capacity() < event.len() {
                        if poll_fn(|cx| body.poll_capacity(cx)).await.is_none() {
                            return;
                        }
                    }
                    if body.send_data(event.clone(), false).is_err() {
                        return;
                    }
                }
            }
            body.send_data(Bytes::from_static(b"hello"), true).unwrap();
        })
    })
    .await;
    let upstream = upstream_for(&server, Settings::default());
    let mut stuck = Vec::new();
    for _ in 0..80 {
        let mut request = call(&server.url(), "");
        request.headers.insert("x-flood", "1".parse().unwrap());
        stuck.push(soon(upstream.send(request)).await.unwrap());
    }
    for _ in 0..20 {
        assert_eq!(ask(&upstream, &server.url()).await.unwrap(), "hello");
    }
    assert_eq!(server.accepted(), 1);
    // And the ones that stood still get everything once they read.
    let last = stuck.pop().unwrap();
    assert_eq!(text(last.body).await.unwrap().len(), 1_000_000 + 5);
}

/// Serves with streams that stay open, and says when one is reset and why.
async fn watching(answer_first: bool) -> (Server, mpsc::Receiver<Option<Reason>>) {
    let (tell, told) = mpsc::channel(4);
    let server = Server::start(move |_, stream| {
        let tell = tell.clone();
        serve(stream, None, move |request, mut respond| {
            let tell = tell.clone();
            async move {
                if !request.headers().contains_key("x-hang") {
                    return hello(request, respond).await;
                }
                tell.send(None).await.unwrap();
                let reason = if answer_first {
                    let mut body = respond.send_response(Response::new(()), false).unwrap();
                    body.send_data(Bytes::from_static(b"he"), false).unwrap();
                    poll_fn(|cx| body.poll_reset(cx)).await
                } else {
                    poll_fn(|cx| respond.poll_reset(cx)).await
                };
                tell.send(Some(reason.unwrap())).await.unwrap();
            }
        })
    })
    .await;
    (server, told)
}

#[tokio::test]
async fn dropping_a_body_resets_its_stream_at_once_and_keeps_the_connection() {
    let (server, mut told) = watching(true).await;
    let upstream = upstream_for(&server, Settings::default());
    let mut request = call(&server.url(), "question");
    request.headers.insert("x-hang", "1".parse().unwrap());
    let mut reply = soon(upstream.send(request)).await.unwrap();
    soon(reply.body.frame()).await.unwrap().unwrap();
    assert_eq!(soon(told.recv()).await, Some(None));
    drop(reply);
    assert_eq!(tokio::time::timeout(CANCEL_LIMIT, told.recv()).await, Ok(Some(Some(Reason::CANCEL))));
    assert_eq!(ask(&upstream, &server.url()).await.unwrap(), "hello");
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn dropping_a_call_resets_its_stream_at_once() {
    let (server, mut told) = watching(false).await;
    let upstream = upstream_for(&server, Settings::default());
    let mut request = call(&server.url(), "question");
    request.headers.insert("x-hang", "1".parse().unwrap());
    let mut sending = upstream.send(request);
    tokio::select! {
        _ = &mut sending => panic!("answered"),
        event = told.recv() => assert_eq!(event, Some(None)),
    }
    drop(sending);
    assert_eq!(tokio::time::timeout(CANCEL_LIMIT, told.recv()).await, Ok(Some(Some(Reason::CANCEL))));
}

#[tokio::test]
async fn a_connection_on_which_a_call_met_only_silence_is_not_used_again() {
    let is_first = Arc::new(AtomicBool::new(true));
    let server = Server::start(move |_, mut stream| {
        let is_first = is_first.swap(false, Ordering::SeqCst);
        async move {
            if is_first {
                raw_until_headers(&mut stream).await;
                // From here on nothing comes back, as on a path that died.
                std::future::pending::<()>().await;
            }
            serve(stream, None, hello).await;
        }
    })
    .await;
    let upstream = upstream_for(&server, Settings::default());
    // The first call meets the peer's SETTINGS, so the connection still counts as alive; the second meets nothing.
    for _ in 0..2 {
        let sending = upstream.send(call(&server.url(), "question"));
        let waited = tokio::time::timeout(std::time::Duration::from_millis(100), sending).await;
        assert!(waited.is_err());
    }
    assert_eq!(ask(&upstream, &server.url()).await.unwrap(), "hello");
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn an_answer_that_comes_before_a_large_body_is_sent_is_read_and_returned() {
    let server = Server::start(|_, stream| {
        serve(stream, None, |_request, mut respond| async move {
            let head = Response::builder().status(413).body(()).unwrap();
            let mut body = respond.send_response(head, false).unwrap();
            body.send_data(Bytes::from_static(b"too large"), true).unwrap();
        })
    })
    .await;
    let upstream = upstream_for(&server, Settings::default());
    for _ in 0..2 {
        let reply = soon(upstream.send(call(&server.url(), vec![b'x'; 5 << 20]))).await.unwrap();
        assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(text(reply.body).await.unwrap(), "too large");
    }
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn a_stream_that_is_reset_midway_is_a_broken_stream() {
    let is_read = Arc::new(Notify::new());
    let cut = Arc::clone(&is_read);
    let server = Server::start(move |_, stream| {
        let cut = Arc::clone(&cut);
        serve(stream, None, move |_request, mut respond| {
            let cut = Arc::clone(&cut);
            async move {
                let mut body = respond.send_response(Response::new(()), false).unwrap();
                body.send_data(Bytes::from_static(b"he"), false).unwrap();
                cut.notified().await;
                body.send_reset(Reason::INTERNAL_ERROR);
            }
        })
    })
    .await;
    let mut reply = soon(upstream_for(&server, Settings::default()).send(call(&server.url(), ""))).await.unwrap();
    let frame = soon(reply.body.frame()).await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "he");
    is_read.notify_one();
    let fault = text(reply.body).await.unwrap_err();
    assert_eq!(fault.class, FaultClass::StreamBroken);
}

#[tokio::test]
async fn a_head_beyond_the_limits_is_a_fault() {
    let server = Server::start(|_, stream| {
        serve(stream, None, |_request, mut respond| async move {
            let mut head = Response::new(());
            for n in 0..101 {
                head.headers_mut().insert(http::HeaderName::try_from(format!("x-{n}")).unwrap(), "v".parse().unwrap());
            }
            respond.send_response(head, true).unwrap();
        })
    })
    .await;
    let upstream = upstream_for(&server, Settings::default());
    let fault = fault_of(soon(upstream.send(call(&server.url(), ""))).await);
    assert_eq!(fault.class, FaultClass::Unreachable);
    assert!(fault.may_be_billed);
    assert_eq!(upstream.connections()[0].streams, 0);
}
