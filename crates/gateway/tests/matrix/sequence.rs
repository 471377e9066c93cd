//! Faults that come and go: several exchanges at one gateway.

use crate::cell::{Complaints, FALLBACK, PATIENCE, PRIMARY, Rig};
use crate::expected::Setting;
use crate::seen;
use crate::wire::{self, Ask};
use canon::DialectName;
use simulator::{Behaviour, FaultKind, FaultRule};
use std::time::Duration;
use tokio::task::JoinSet;

const DOWN: FaultKind = FaultKind::Unavailable503 { retry: None };
const PHASE: Duration = Duration::from_millis(250);

fn settings() -> impl Iterator<Item = Setting> {
    let both = |dialect| {
        [true, false].map(|streamed| Setting { streamed, as_array: false, caller: dialect, primary: dialect })
    };
    DialectName::ALL.into_iter().flat_map(both)
}

fn next(dialect: DialectName) -> DialectName {
    let place = DialectName::ALL.iter().position(|one| *one == dialect).unwrap();
    DialectName::ALL[(place + 1) % DialectName::ALL.len()]
}

/// One exchange that must be complete, and who served it.
async fn answered(rig: &Rig, at: Setting, complaints: &mut Complaints) -> String {
    let ask =
        Ask { dialect: at.caller, model: "chat", text: "Hello", tool: false, streamed: at.streamed, as_array: false };
    let Some(Ok(response)) = wire::ask(rig.address, &ask, PATIENCE).await else {
        complaints.0.push("no answer".to_owned());
        return String::new();
    };
    let who = response.header("x-mainstay-provider").to_owned();
    let read = if at.streamed { seen::stream } else { seen::whole };
    let seen = read(at.caller, &response.body);
    let is_complete = seen.errors.is_empty() && seen.finishes.len() == 1 && response.is_whole;
    complaints.check(response.status == 200 && is_complete, || format!("not complete: {seen:?}"));
    complaints.check(seen.text.contains(&format!("This is {who} ")), || format!("{who} did not say {:?}", seen.text));
    who
}

async fn flapping(at: Setting) -> Vec<String> {
    let rig = Rig::start(at, next(at.primary), &[]).await;
    rig.primary.simulator().set_faults([FaultRule::new(DOWN).flapping(PHASE, PHASE)]);
    let mut complaints = Complaints::default();
    let mut served = Vec::new();
    for _ in 0..16 {
        served.push(answered(&rig, at, &mut complaints).await);
        tokio::time::sleep(PHASE / 4).await;
    }
    for who in [PRIMARY, FALLBACK] {
        complaints.check(served.iter().any(|one| one == who), || format!("{who} never serves: {served:?}"));
    }
    complaints.0
}

async fn recovering(at: Setting) -> Vec<String> {
    let rig = Rig::start(at, next(at.primary), &[]).await;
    rig.primary.simulator().set_behaviour(Behaviour {
        faults: vec![FaultRule::new(DOWN)],
        recover_at: Some(PHASE),
        ..rig.primary.simulator().behaviour()
    });
    let mut complaints = Complaints::default();
    let first = answered(&rig, at, &mut complaints).await;
    complaints.check(first == FALLBACK, || format!("{first} serves while the primary is down"));
    tokio::time::sleep(PHASE).await;
    let then = answered(&rig, at, &mut complaints).await;
    complaints.check(then == PRIMARY, || format!("{then} serves after the primary recovered"));
    complaints.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_comes_and_goes_costs_no_answer() {
    let mut running = JoinSet::new();
    for at in settings() {
        running.spawn(async move { ("flapping", at, flapping(at).await) });
        running.spawn(async move { ("recovering", at, recovering(at).await) });
    }
    let mut wrong = 0;
    while let Some(done) = running.join_next().await {
        let (name, at, complaints) = done.unwrap();
        if !complaints.is_empty() {
            println!("WRONG {name} {at:?}: {}", complaints.join("; "));
            wrong += 1;
        }
    }
    assert_eq!(wrong, 0, "of 12 differ from what is expected");
}
