//! The transport over sockets.

use crate::decode;
use crate::dial::Dialer;
use crate::pool::{EndpointStats, HostPool, Lease, Limits};
use crate::request::Prepared;
use crate::settings::SettingsError;
use crate::tls::Tls;
use crate::{AnswerBody, Call, Endpoint, Reply, Settings, Transport, http1, http2};
use arc_swap::ArcSwap;
use canon::{Fault, Phase};
use http::Response;
use http_body::Body;
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// Connections to every endpoint. Cheap to clone; clones share the connections.
#[derive(Clone)]
pub struct Upstream {
    shared: Arc<Shared>,
}

/// Pools by host; a host has one per scheme and port.
type Pools = HashMap<String, Vec<Arc<HostPool>>>;

struct Shared {
    dialer: Dialer,
    limits: Limits,
    h2c_hosts: Vec<String>,
    /// Read on every call, written once per endpoint.
    pools: ArcSwap<Pools>,
    adding: Mutex<()>,
    is_sweeping: AtomicBool,
}

impl Upstream {
    /// Checks the settings; opens nothing and reads no file yet.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        if settings.max_streams == 0 {
            return Err(SettingsError("max_streams is 0, expected at least 1".to_owned()));
        }
        let tls = Tls::new(&settings.extra_roots)?;
        Ok(Self {
            shared: Arc::new(Shared {
                dialer: Dialer { tls, proxies: settings.proxies },
                limits: Limits {
                    idle: settings.idle_limit,
                    age: settings.age_limit,
                    max_idle: settings.max_idle,
                    max_streams: settings.max_streams,
                },
                h2c_hosts: settings.h2c_hosts,
                pools: ArcSwap::default(),
                adding: Mutex::new(()),
                is_sweeping: AtomicBool::new(false),
            }),
        })
    }

    /// The connections as they are now, one row per endpoint ever called.
    pub fn connections(&self) -> Vec<EndpointStats> {
        let pools = self.shared.pools.load();
        let mut rows: Vec<_> = pools.values().flatten().map(|pool| pool.stats()).collect();
        rows.sort_by(|a, b| a.endpoint.cmp(&b.endpoint));
        rows
    }
}

impl Transport for Upstream {
    fn send(&self, call: Call) -> Pin<Box<dyn Future<Output = Result<Reply, Fault>> + Send>> {
        Box::pin(send(Arc::clone(&self.shared), call))
    }
}

async fn send(shared: Arc<Shared>, call: Call) -> Result<Reply, Fault> {
    let pool = shared.pool(&call.endpoint);
    let limit = call.connect;
    let call = Prepared::new(call)?;
    let lease = if let Some(lease) = pool.take_ready() {
        lease
    } else {
        shared.sweep_from_now_on();
        let made = tokio::time::timeout(limit, pool.take(&shared.dialer)).await;
        made.map_err(|_| Fault::timed_out(Phase::Connect, limit))??
    };
    match lease {
        Lease::Http1(connection) => {
            let request = call.http1(&pool, connection.via.as_ref())?;
            Ok(reply(http1::exchange(connection, pool, request).await?))
        }
        Lease::Http2(slot) => {
            let (request, body) = call.http2(&pool)?;
            Ok(reply(http2::exchange(slot, request, body).await?))
        }
    }
}

fn reply<B>(response: Response<B>) -> Reply
where
    B: Body<Data = bytes::Bytes, Error = Fault> + Send + 'static,
{
    let (mut head, body) = response.into_parts();
    let body: AnswerBody = Box::pin(body);
    let body = decode::decoded(&mut head.headers, body);
    Reply { status: head.status, headers: head.headers, body }
}

impl Shared {
    fn pool(&self, endpoint: &Endpoint) -> Arc<HostPool> {
        if let Some(pool) = find(&self.pools.load(), endpoint) {
            return pool;
        }
        let _adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        let pools = self.pools.load();
        if let Some(pool) = find(&pools, endpoint) {
            return pool;
        }
        let prior_knowledge = !endpoint.https && {
            let address = crate::endpoint::host_and_port(&endpoint.host, endpoint.port);
            self.h2c_hosts.contains(&address)
        };
        let pool = Arc::new(HostPool::new(endpoint, prior_knowledge, self.limits));
        let mut more = Pools::clone(&pools);
        more.entry(endpoint.host.clone()).or_default().push(Arc::clone(&pool));
        self.pools.store(Arc::new(more));
        pool
    }

    /// Starts the sweeper unless it runs. It ends when there is no connection left, so an idle process does nothing.
    fn sweep_from_now_on(self: &Arc<Self>) {
        if self.is_sweeping.swap(true, Ordering::AcqRel) {
            return;
        }
        let shared = Arc::downgrade(self);
        #[expect(clippy::disallowed_methods, reason = "one task a process closes connections that nobody asks for")]
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(SWEEP_EVERY).await;
                let Some(shared) = shared.upgrade() else { return };
                let pools = shared.pools.load_full();
                let mut any_left = false;
                for pool in pools.values().flatten() {
                    any_left |= pool.sweep();
                }
                if any_left {
                    continue;
                }
                shared.is_sweeping.store(false, Ordering::Release);
                // A connection made meanwhile found a sweeper that was about to end.
                let is_needed = pools.values().flatten().any(|pool| pool.is_used());
                if !is_needed || shared.is_sweeping.swap(true, Ordering::AcqRel) {
                    return;
                }
            }
        });
    }
}

fn find(pools: &Pools, endpoint: &Endpoint) -> Option<Arc<HostPool>> {
    let of_host = pools.get(endpoint.host.as_str())?;
    of_host.iter().find(|p| p.endpoint.port == endpoint.port && p.endpoint.https == endpoint.https).cloned()
}
