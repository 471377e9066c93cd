//! Documents that are read beside the traffic, on a host of their own.

use canon::Fault;
use http::header::{ETAG, IF_NONE_MATCH};
use simulator::InMemory;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use upstream::{Call, Reply, Transport};

use crate::support::transports::reply;

/// The host of the documents.
pub(crate) const HOST: &str = "desk";

/// One document, and how it was asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Document {
    pub(crate) status: u16,
    pub(crate) body: String,
    pub(crate) etag: Option<&'static str>,
    /// Never answered.
    pub(crate) hangs: bool,
    pub(crate) asked: u32,
    pub(crate) unchanged: u32,
    pub(crate) path: String,
}

/// A way out that answers for [`HOST`], and leaves the rest to the simulators.
#[derive(Clone)]
pub(crate) struct Desk {
    inner: InMemory,
    document: Arc<Mutex<Document>>,
}

impl Desk {
    pub(crate) fn over(inner: InMemory) -> Self {
        Self { inner, document: Arc::default() }
    }

    /// It says this from now on.
    pub(crate) fn says(&self, status: u16, body: &str) {
        let mut document = self.document.lock().unwrap();
        (document.status, document.body, document.etag) = (status, body.to_owned(), None);
    }

    /// Changes how it answers.
    pub(crate) fn set(&self, change: impl FnOnce(&mut Document)) {
        change(&mut self.document.lock().unwrap());
    }

    /// As it is now.
    pub(crate) fn document(&self) -> Document {
        self.document.lock().unwrap().clone()
    }
}

impl Transport for Desk {
    fn send(&self, call: Call) -> Pin<Box<dyn Future<Output = Result<Reply, Fault>> + Send>> {
        if call.endpoint.host != HOST {
            return self.inner.send(call);
        }
        let document = {
            let mut document = self.document.lock().unwrap();
            document.asked += 1;
            document.path = call.path;
            document.clone()
        };
        let is_known = document.etag.is_some_and(|etag| call.headers.get(IF_NONE_MATCH).is_some_and(|it| it == etag));
        if is_known {
            self.document.lock().unwrap().unchanged += 1;
        }
        Box::pin(async move {
            if document.hangs {
                std::future::pending::<()>().await;
            }
            let mut answer = if is_known { reply(304, &[], "") } else { reply(document.status, &[], &document.body) };
            if let Some(etag) = document.etag {
                answer.headers.insert(ETAG, etag.parse().unwrap());
            }
            Ok(answer)
        })
    }
}
