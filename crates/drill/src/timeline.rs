//! A line of the timeline, checked.

use crate::fault::{FaultKind, PlannedFault};
use crate::raw::{RawFault, RawFaultName};
use canon::Instant;
use std::fmt::Write as _;

/// Plans a fault for calls of `site` (`None` = all), which has so many credentials.
pub(crate) fn plan(fault: &RawFault, site: Option<usize>, credentials: Option<usize>) -> Result<PlannedFault, String> {
    let credential = match (fault.credential, credentials) {
        (None, _) => None,
        (Some(number), Some(most)) if (1..=most).contains(&number) => Some(number - 1),
        (Some(_), Some(most)) => return Err(format!("expected a `credential` from 1 to {most}")),
        (Some(_), None) => return Err("`credential` is one of one target: expected a `target`, not `*`".to_owned()),
    };
    let until = fault.until.map_or(Instant::FAR_FUTURE, |until| Instant::from_origin(until.0));
    let from = Instant::from_origin(fault.at.0);
    if until <= from {
        return Err("`until` is not after `at`".to_owned());
    }
    let flap = match (fault.down, fault.up) {
        (None, None) => None,
        (Some(down), Some(up)) if !down.0.is_zero() => Some((down.0, up.0)),
        _ => return Err("flapping takes `down` and `up`".to_owned()),
    };
    let share = fault.share.map_or(1.0, |share| share.0);
    Ok(PlannedFault { from, until, site, credential, share, flap, kind: kind(fault)?, words: words(fault) })
}

fn kind(fault: &RawFault) -> Result<FaultKind, String> {
    let is_status = matches!(fault.fault, RawFaultName::Status(_));
    if !is_status && (fault.retry_after.is_some() || fault.code.is_some()) {
        return Err("`retry_after` and `code` belong to an error answer: expected a status".to_owned());
    }
    let word = match &fault.fault {
        RawFaultName::Status(status) => {
            let (code, retry_after) = (fault.code.clone(), fault.retry_after.map(|span| span.0));
            return Ok(FaultKind::Status { status: *status, code, retry_after });
        }
        RawFaultName::Word(word) => word.as_str(),
    };
    let is_slow = word.starts_with("slow");
    let breaks = matches!(word, "cut" | "stall");
    if is_slow != fault.times.is_some() {
        return Err("`times` says how many times slower: expected with slow_first_token and slow_tokens".to_owned());
    }
    if fault.after.is_some() && !breaks {
        return Err("`after` counts tokens: expected with cut and stall".to_owned());
    }
    let times = fault.times.unwrap_or(1.0);
    if !(times.is_finite() && times > 0.0) {
        return Err("expected `times` above 0".to_owned());
    }
    Ok(match word {
        "refuse" => FaultKind::Refuse,
        "unroutable" => FaultKind::Unroutable,
        "reset" => FaultKind::Reset,
        "hang" => FaultKind::Hang,
        "slow_first_token" => FaultKind::SlowFirstToken { times },
        "slow_tokens" => FaultKind::SlowTokens { times },
        "cut" => FaultKind::Cut { after: fault.after },
        "stall" => FaultKind::Stall { after: fault.after },
        _ => FaultKind::Empty,
    })
}

fn words(fault: &RawFault) -> String {
    let mut words = match &fault.fault {
        RawFaultName::Status(status) => status.to_string(),
        RawFaultName::Word(word) => word.clone(),
    };
    if let Some(times) = fault.times {
        let _ = write!(words, " x{times}");
    }
    if let Some(share) = fault.share {
        let _ = write!(words, " for {:.0}% of the calls", share.0 * 100.0);
    }
    if let (Some(down), Some(up)) = (fault.down, fault.up) {
        let _ = write!(words, ", {:?} down and {:?} up", down.0, up.0);
    }
    format!("{}: {words}", fault.target)
}
