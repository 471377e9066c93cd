//! Incidents that are told: `POST /mainstay/incidents`, off unless the configuration has a secret for it.

use super::poll::tell;
use crate::body::{self, ReadLimits};
use crate::pipeline::{CallerBody, body_error, refuse, unknown_path, wrong_method};
use crate::readers::lock;
use crate::respond::{self, GatewayBody};
use crate::{Current, Gateway, auth, clock};
use ::signals::{Concern, Now, read_reports};
use canon::{CallerError, DialectName};
use http::request::Parts;
use http::{Method, Response};

/// Who is the source of what is told here.
pub(super) const SOURCE: &str = "webhook";
/// Most bytes of a report.
const LONGEST: usize = 64 << 10;
/// The dialect errors are written in.
const DIALECT: DialectName = DialectName::OpenaiChat;

impl Gateway {
    /// Takes reports of incidents from whoever knows the secret.
    pub(crate) async fn take_reports<B: CallerBody>(
        &self,
        current: &Current,
        parts: &Parts,
        mut body: B,
    ) -> Response<GatewayBody> {
        let Some(webhook) = &current.snapshot.incident_webhook else {
            return unknown_path(DIALECT, parts.uri.path());
        };
        if parts.method != Method::POST {
            return wrong_method(DIALECT, "POST");
        }
        if !auth::is_bearer(&webhook.secret, &parts.headers) {
            let error =
                CallerError::new(401, "invalid_secret", "send the webhook's secret as `Authorization: Bearer SECRET`");
            return refuse(DIALECT, &error, &parts.headers, body);
        }
        let limits = ReadLimits { bytes: LONGEST, idle: current.snapshot.limits.caller_idle };
        let read = match body::read(&parts.headers, &mut body, &self.shared.budget, limits).await {
            Ok(read) => read,
            Err(error) => return refuse(DIALECT, &body_error(&error), &parts.headers, body),
        };
        let now = Now { instant: self.clock().now(), wall: clock::since_1970() };
        let reports = match read_reports(&read.bytes, &Concern::default(), now) {
            Ok(reports) => reports,
            Err(message) => return respond::error(DIALECT, &CallerError::new(400, "invalid_report", message)),
        };
        let taken = reports.len();
        for report in reports {
            let usual = now.instant + webhook.believed_for;
            let until = report.incident.until.unwrap_or(usual).min(now.instant + webhook.longest);
            let Some(changes) = lock(&self.signals.book).reported(SOURCE, report, until, now.instant) else {
                let message = "as many incidents go on as are kept; tell which are resolved";
                return respond::error(DIALECT, &CallerError::new(429, "too_many_incidents", message));
            };
            tell(SOURCE, changes);
        }
        self.signals.weigh(&current.snapshot, now.instant);
        respond::json(&serde_json::json!({ "taken": taken }))
    }
}
