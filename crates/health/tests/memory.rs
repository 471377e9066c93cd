//! What a thousand targets take, and that traffic takes no more once the hour that is remembered is full. A process of
//! its own, as it looks at the whole of it.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "tests")]

use canon::{Fault, FaultClass, Instant, LimitKind, LimitReading, Load, Origin};
use health::{BreakerSettings, CredentialHealth, Health, StartKind, TargetHealth};
use std::sync::Arc;
use std::time::Duration;

const TARGETS: usize = 1_000;
/// One of each prompt size.
const PROMPTS: [u64; 5] = [100, 2_000, 10_000, 50_000, 200_000];
const MOST: usize = 64 << 20;
/// What an allocator may keep of its own.
const NOISE: usize = 2 << 20;

fn at(millis: u64) -> Instant {
    Instant::from_origin(Duration::from_millis(millis))
}

/// Bytes of this process that are in memory.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4_096
}

/// A call of each prompt size to each target in each minute, one in twenty of which fails.
fn traffic(targets: &[(Arc<TargetHealth>, Arc<CredentialHealth>)], minutes: std::ops::Range<u64>) {
    for minute in minutes {
        for (index, (target, credential)) in targets.iter().enumerate() {
            for (size, prompt) in PROMPTS.into_iter().enumerate() {
                let begun = minute * 60_000 + size as u64 * 10_000;
                let load = Load { input_tokens: prompt, output_tokens: 250 };
                let limits = credential.limits("m");
                let mut taken = limits.reserve(load, at(begun));
                let Ok(mut permit) = target.start(StartKind::Probe, at(begun)) else { continue };
                permit.awaits_first_token(prompt);
                if (index + size + usize::try_from(minute).unwrap()) % 20 == 0 {
                    let fault = Fault::new(FaultClass::RateLimited, Origin::Head, "");
                    credential.learn("m", &fault, at(begun + 100));
                    permit.failed(&fault, at(begun + 100));
                    continue;
                }
                permit.first_token(at(begun + 800 + minute % 7 * 40));
                taken.counted();
                let told = LimitReading { kind: LimitKind::Tokens, limit: 400_000, remaining: 300_000, reset: None };
                limits.told(std::iter::once(told), at(begun + 800));
                credential.succeeded("m", at(begun + 800));
                target.observe_gap(Duration::from_millis(20 + minute % 5));
                target.observe_pace(Duration::from_millis(20 + minute % 5));
                permit.succeeded(at(begun + 5_000));
                target.standing(at(begun + 5_000));
            }
        }
    }
}

#[test]
fn a_thousand_targets_take_64_mib_at_most_and_traffic_takes_no_more() {
    let before = resident();
    let health = Health::new(1);
    let target = |index: usize| {
        let id = format!("provider/model-{index}");
        (health.target(&id, &BreakerSettings::default()), health.credential(&format!("provider/{index}")))
    };
    let targets: Vec<_> = (0..TARGETS).map(target).collect();
    traffic(&targets, 0..65);
    let full = resident().saturating_sub(before);
    println!("{TARGETS} targets: {:.1} MB", full as f64 / 1e6);
    assert!(full <= MOST, "{full} bytes");
    assert!(full >= 1 << 20, "{full} bytes: it measures nothing");
    traffic(&targets, 65..130);
    let later = resident().saturating_sub(before);
    assert!(later <= full + NOISE, "{later} bytes after {full}");
}
