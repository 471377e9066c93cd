//! HTTP/1.1: reuse, stale connections, cuts, limits, cancelling.

use crate::support::{
    CANCEL_LIMIT, Server, answering, answering_once, ask, call, fault_of, read_head, read_request, soon, text, upstream,
};
use bytes::Bytes;
use canon::{FaultClass, Origin, Phase};
use http::{HeaderValue, StatusCode};
use http_body_util::BodyExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use upstream::{Settings, Transport, Upstream};

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";

#[tokio::test]
async fn a_connection_whose_answer_was_read_to_the_end_is_used_again() {
    for answer in ["HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", CHUNKED] {
        let server = answering(answer).await;
        let upstream = upstream();
        for _ in 0..5 {
            assert_eq!(ask(&upstream, &server.url()).await.unwrap(), "hello");
        }
        assert_eq!(server.accepted(), 1);
        let stats = &upstream.connections()[0];
        assert_eq!((stats.open, stats.idle), (1, 1));
        assert_eq!(stats.endpoint, format!("http://127.0.0.1:{}", server.port));
    }
}

#[tokio::test]
async fn answers_without_a_body_keep_the_connection_too() {
    let server = answering("HTTP/1.1 204 No Content\r\n\r\n").await;
    let upstream = upstream();
    for _ in 0..2 {
        assert_eq!(ask(&upstream, &server.url()).await.unwrap(), "");
    }
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn a_connection_the_peer_says_it_will_close_is_not_kept() {
    let server = answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await;
    let upstream = upstream();
    for _ in 0..2 {
        assert_eq!(ask(&upstream, &server.url()).await.unwrap(), "ok");
    }
    assert_eq!(server.accepted(), 2);
    assert_eq!(upstream.connections()[0].idle, 0);
}

#[tokio::test]
async fn at_most_max_idle_connections_are_kept_and_none_past_its_age() {
    let settings = [
        (Settings { max_idle: 1, ..Settings::default() }, 1),
        (Settings { age_limit: Duration::ZERO, ..Settings::default() }, 0),
    ];
    for (settings, kept) in settings {
        let server = answering(CHUNKED).await;
        let upstream = Upstream::new(settings).unwrap();
        let first = soon(upstream.send(call(&server.url(), ""))).await.unwrap();
        let second = soon(upstream.send(call(&server.url(), ""))).await.unwrap();
        text(first.body).await.unwrap();
        text(second.body).await.unwrap();
        let stats = &upstream.connections()[0];
        assert_eq!((stats.open, stats.idle), (kept, kept));
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_when_its_limit_has_passed_though_nobody_calls() {
    let (ended, mut has_ended) = mpsc::channel(1);
    let server = Server::start(move |_, mut stream| {
        let ended = ended.clone();
        async move {
            while read_request(&mut stream).await.is_some() {
                stream.write_all(CHUNKED.as_bytes()).await.unwrap();
            }
            ended.send(()).await.unwrap();
        }
    })
    .await;
    let upstream = upstream();
    let mut request = call(&server.url(), "");
    // The paused clock runs ahead whenever everything waits for a socket.
    request.connect = Duration::from_secs(1_000_000);
    let reply = upstream.send(request).await.unwrap();
    reply.body.collect().await.unwrap();
    let idle_from = tokio::time::Instant::now();
    has_ended.recv().await.unwrap();
    assert!(idle_from.elapsed() >= Duration::from_secs(90));
    assert!(idle_from.elapsed() <= Duration::from_secs(120));
    assert_eq!(upstream.connections()[0].open, 0);
}

#[tokio::test]
async fn a_connection_the_peer_closed_while_idle_never_becomes_a_plain_failure() {
    let closed = Arc::new(Notify::new());
    let close = Arc::clone(&closed);
    let server = Server::start(move |_, mut stream| {
        let close = Arc::clone(&close);
        async move {
            read_request(&mut stream).await.unwrap();
            stream.write_all(CHUNKED.as_bytes()).await.unwrap();
            drop(stream);
            close.notify_one();
        }
    })
    .await;
    let upstream = upstream();
    ask(&upstream, &server.url()).await.unwrap();
    soon(closed.notified()).await;
    match ask(&upstream, &server.url()).await {
        Ok(answer) => assert_eq!(answer, "hello"),
        Err(fault) => assert!(fault.stale_connection, "{fault:?}"),
    }
}

#[tokio::test]
async fn a_pooled_connection_that_breaks_as_the_request_arrives_is_stale_and_not_billed() {
    let server = Server::start(|_, mut stream| async move {
        read_request(&mut stream).await.unwrap();
        stream.write_all(CHUNKED.as_bytes()).await.unwrap();
        let _ = stream.read_u8().await;
    })
    .await;
    // A loaded machine may be late once, not ten times.
    for _ in 0..10 {
        let upstream = upstream();
        ask(&upstream, &server.url()).await.unwrap();
        let fault = ask(&upstream, &server.url()).await.unwrap_err();
        assert_eq!(fault.class, FaultClass::Unreachable);
        assert_eq!(fault.origin, Origin::Transport);
        if fault.stale_connection {
            assert!(!fault.may_be_billed);
            return;
        }
    }
    panic!("never seen as stale");
}

#[tokio::test]
async fn a_fresh_connection_that_breaks_after_the_request_may_be_billed_and_is_not_stale() {
    let server = Server::start(|_, mut stream| async move {
        read_request(&mut stream).await.unwrap();
    })
    .await;
    let fault = ask(&upstream(), &server.url()).await.unwrap_err();
    assert_eq!(fault.class, FaultClass::Unreachable);
    assert!(fault.may_be_billed);
    assert!(!fault.stale_connection);
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_request_was_sent_is_not_billed() {
    let server = Server::start(|_, mut stream| async move {
        read_head(&mut stream).await.unwrap();
    })
    .await;
    let body = Bytes::from(vec![b'x'; 32 << 20]);
    let fault = fault_of(soon(upstream().send(call(&server.url(), body))).await);
    assert_eq!(fault.class, FaultClass::Unreachable);
    assert!(!fault.may_be_billed);
}

#[tokio::test]
async fn a_refused_connection_is_unreachable_and_costs_nothing() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let upstream = upstream();
    let fault = ask(&upstream, &format!("http://127.0.0.1:{port}")).await.unwrap_err();
    assert_eq!(fault.class, FaultClass::Unreachable);
    assert!(!fault.may_be_billed && !fault.stale_connection);
    assert!(fault.message.contains(&format!("127.0.0.1:{port}")), "{}", fault.message);
    assert_eq!(upstream.connections()[0].open, 0);
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_unreachable() {
    let fault = ask(&upstream(), "http://no-such-host.invalid").await.unwrap_err();
    assert_eq!(fault.class, FaultClass::Unreachable);
    assert!(fault.message.contains("resolving"), "{}", fault.message);
}

#[tokio::test]
async fn a_handshake_that_hangs_ends_at_the_connect_limit_for_every_call_that_waits_for_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let upstream = upstream();
    let attempt = || async {
        let mut call = call(&url, "");
        call.connect = Duration::from_millis(50);
        fault_of(soon(upstream.send(call)).await)
    };
    let faults = tokio::join!(attempt(), attempt(), attempt());
    for fault in [faults.0, faults.1, faults.2] {
        assert_eq!(fault.class, FaultClass::TimedOut);
        assert_eq!(fault.phase, Some(Phase::Connect));
        assert!(!fault.may_be_billed);
    }
}

#[tokio::test]
async fn an_answer_that_comes_before_a_large_body_is_sent_is_read_and_returned() {
    for close in ["", "connection: close\r\n"] {
        let answer = format!("HTTP/1.1 413 Payload Too Large\r\ncontent-length: 9\r\n{close}\r\ntoo large");
        let server = Server::start(move |_, mut stream| {
            let answer = answer.clone();
            async move {
                read_head(&mut stream).await.unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
                // Closing with unread bytes resets the connection.
            }
        })
        .await;
        let upstream = upstream();
        let body = Bytes::from(vec![b'x'; 5 << 20]);
        let reply = soon(upstream.send(call(&server.url(), body))).await.unwrap();
        assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(text(reply.body).await.unwrap(), "too large");
        assert_eq!(upstream.connections()[0].open, 0, "half a request is still on it");
    }
}

#[tokio::test]
async fn an_early_answer_of_a_peer_that_reads_on_is_returned_at_once() {
    let server = Server::start(|_, mut stream| async move {
        read_head(&mut stream).await.unwrap();
        stream.write_all(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\nno").await.unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    let reply = soon(upstream().send(call(&server.url(), vec![b'x'; 5 << 20]))).await.unwrap();
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    assert_eq!(text(reply.body).await.unwrap(), "no");
}

#[tokio::test]
async fn a_large_body_arrives_whole() {
    let server = Server::start(|_, mut stream| async move {
        let (_, body) = read_request(&mut stream).await.unwrap();
        let answer = format!("{}", body.iter().map(|b| u64::from(*b)).sum::<u64>());
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", answer.len());
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    let body: Vec<u8> = (0..5u32 << 20).map(|i| i.to_le_bytes()[1]).collect();
    let expected = body.iter().map(|b| u64::from(*b)).sum::<u64>().to_string();
    let reply = soon(upstream().send(call(&server.url(), body))).await.unwrap();
    assert_eq!(text(reply.body).await.unwrap(), expected);
}

#[tokio::test]
async fn a_body_that_is_cut_short_is_a_broken_stream() {
    for cut in [
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel",
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello",
    ] {
        let server = answering_once(cut).await;
        let upstream = upstream();
        let reply = soon(upstream.send(call(&server.url(), ""))).await.unwrap();
        let fault = text(reply.body).await.unwrap_err();
        assert_eq!(fault.class, FaultClass::StreamBroken, "{cut}");
        assert_eq!(fault.origin, Origin::Transport);
        assert_eq!(upstream.connections()[0].open, 0);
    }
}

#[tokio::test]
async fn what_came_before_a_cut_is_delivered_first() {
    let server = answering_once("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello").await;
    let mut reply = soon(upstream().send(call(&server.url(), ""))).await.unwrap();
    let frame = soon(reply.body.frame()).await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "hello");
    assert!(soon(reply.body.frame()).await.unwrap().is_err());
    assert!(soon(reply.body.frame()).await.is_none());
}

#[tokio::test]
async fn trailers_are_dropped() {
    let server = answering(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-t\r\n\r\n2\r\nok\r\n0\r\nx-t: 1\r\n\r\n",
    )
    .await;
    let upstream = upstream();
    let reply = soon(upstream.send(call(&server.url(), ""))).await.unwrap();
    let collected = soon(reply.body.collect()).await.unwrap();
    assert!(collected.trailers().is_none());
    assert_eq!(collected.to_bytes(), "ok");
    assert_eq!(upstream.connections()[0].idle, 1);
}

#[tokio::test]
async fn a_head_beyond_the_limits_is_a_fault() {
    let with_headers = |n: usize| format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n{}\r\n", "x-h: v\r\n".repeat(n - 1));
    let server = answering(with_headers(100)).await;
    assert_eq!(ask(&upstream(), &server.url()).await.unwrap(), "");
    let large = format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-h: {}\r\n\r\n", "v".repeat(66 * 1024));
    for answer in [with_headers(101), large, "nonsense\r\n\r\n".to_owned()] {
        let server = answering(answer).await;
        let fault = ask(&upstream(), &server.url()).await.unwrap_err();
        assert_eq!(fault.class, FaultClass::Unreachable);
        assert!(fault.may_be_billed && !fault.stale_connection, "{fault:?}");
    }
}

#[tokio::test]
async fn a_redirect_is_returned_and_not_followed() {
    let server = answering("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n").await;
    let reply = soon(upstream().send(call(&server.url(), ""))).await.unwrap();
    assert_eq!(reply.status, StatusCode::FOUND);
}

#[tokio::test]
async fn hop_by_hop_headers_stay_here_and_the_transports_own_are_set() {
    let (heads, mut seen) = mpsc::channel(1);
    let server = Server::start(move |_, mut stream| {
        let heads = heads.clone();
        async move {
            let (head, body) = read_request(&mut stream).await.unwrap();
            heads.send((head, body)).await.unwrap();
            stream.write_all(CHUNKED.as_bytes()).await.unwrap();
        }
    })
    .await;
    let mut request = call(&server.url(), "question");
    for (name, value) in [
        ("connection", "keep-alive, x-listed"),
        ("x-listed", "1"),
        ("keep-alive", "5"),
        ("proxy-authorization", "secret"),
        ("te", "trailers"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("expect", "100-continue"),
        ("host", "elsewhere"),
        ("content-length", "999"),
        ("accept-encoding", "gzip"),
        ("authorization", "Bearer key"),
    ] {
        request.headers.append(name, HeaderValue::from_static(value));
    }
    soon(upstream().send(request)).await.unwrap();
    let (head, body) = soon(seen.recv()).await.unwrap();
    let mut lines: Vec<_> = head.trim_end().lines().collect();
    assert_eq!(lines.remove(0), "POST /v1/chat?x=1 HTTP/1.1");
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "accept-encoding: identity",
            "authorization: Bearer key",
            "content-length: 8",
            &format!("host: 127.0.0.1:{}", server.port),
        ]
    );
    assert_eq!(body, b"question");
}

#[tokio::test]
async fn a_bad_path_is_refused_without_a_connection_and_without_printing_it() {
    let server = answering(CHUNKED).await;
    let mut request = call(&server.url(), "");
    request.path = "/x y?key=secret".to_owned();
    let fault = fault_of(soon(upstream().send(request)).await);
    assert_eq!(fault.class, FaultClass::InvalidRequest);
    assert!(!fault.message.contains("secret"));
    assert_eq!(server.accepted(), 0);
}

/// A server that says on the channel when a request has come and when its peer has gone.
async fn watching(answer: &'static str) -> (Server, mpsc::Receiver<&'static str>) {
    let (tell, told) = mpsc::channel(4);
    let server = Server::start(move |_, mut stream| {
        let tell = tell.clone();
        async move {
            read_request(&mut stream).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            tell.send("asked").await.unwrap();
            // The end of the connection, or its reset.
            let _ = stream.read(&mut [0; 16]).await;
            tell.send("gone").await.unwrap();
        }
    })
    .await;
    (server, told)
}

#[tokio::test]
async fn dropping_a_call_before_its_answer_closes_the_connection_at_once() {
    let (server, mut told) = watching("").await;
    let upstream = upstream();
    let mut sending = upstream.send(call(&server.url(), "question"));
    tokio::select! {
        _ = &mut sending => panic!("answered"),
        event = told.recv() => assert_eq!(event, Some("asked")),
    }
    drop(sending);
    let gone = tokio::time::timeout(CANCEL_LIMIT, told.recv()).await;
    assert_eq!(gone, Ok(Some("gone")));
    assert_eq!(upstream.connections()[0].open, 0);
}

#[tokio::test]
async fn dropping_a_body_before_its_end_closes_the_connection_at_once() {
    let (server, mut told) = watching("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n").await;
    let upstream = upstream();
    let mut reply = soon(upstream.send(call(&server.url(), "question"))).await.unwrap();
    soon(reply.body.frame()).await.unwrap().unwrap();
    assert_eq!(soon(told.recv()).await, Some("asked"));
    drop(reply);
    let gone = tokio::time::timeout(CANCEL_LIMIT, told.recv()).await;
    assert_eq!(gone, Ok(Some("gone")));
}

#[tokio::test]
async fn a_body_dropped_when_only_its_end_is_unread_keeps_the_connection() {
    let server = answering(CHUNKED).await;
    let upstream = upstream();
    for _ in 0..3 {
        let mut reply = soon(upstream.send(call(&server.url(), ""))).await.unwrap();
        let frame = soon(reply.body.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "hello");
    }
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn an_answer_is_read_only_as_fast_as_the_caller_takes_it() {
    let (sent, mut progress) = mpsc::channel(1024);
    let server = Server::start(move |_, mut stream| {
        let sent = sent.clone();
        async move {
            read_request(&mut stream).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 67108864\r\n\r\n").await.unwrap();
            let block = vec![b'x'; 1 << 20];
            for _ in 0..64 {
                stream.write_all(&block).await.unwrap();
                sent.send(()).await.unwrap();
            }
        }
    })
    .await;
    let mut reply = soon(upstream().send(call(&server.url(), ""))).await.unwrap();
    soon(reply.body.frame()).await.unwrap().unwrap();
    // The socket buffers of both sides fill, then the server waits.
    let mut blocks = 0;
    while tokio::time::timeout(Duration::from_millis(200), progress.recv()).await.is_ok() {
        blocks += 1;
    }
    assert!(blocks < 32, "{blocks} MiB were taken from the provider for nobody");
    let rest = soon(reply.body.collect()).await.unwrap().to_bytes().len();
    assert!(rest > 60 << 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_at_once_from_many_threads_are_all_answered() {
    let server = answering(CHUNKED).await;
    let upstream = upstream();
    let mut tasks = Vec::new();
    for _ in 0..16 {
        let (upstream, url) = (upstream.clone(), server.url());
        tasks.push(tokio::spawn(async move {
            for _ in 0..50 {
                assert_eq!(ask(&upstream, &url).await.unwrap(), "hello");
            }
        }));
    }
    for task in tasks {
        soon(task).await.unwrap();
    }
    assert!(server.accepted() <= 16, "{} connections for 16 callers", server.accepted());
}
