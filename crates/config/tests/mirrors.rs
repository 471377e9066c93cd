//! Copies for a mirror: what they mean, and what is said of those that mean nothing.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use config::Snapshot;
use std::sync::Arc;

fn load(mirror: &str) -> Result<Snapshot, String> {
    let yaml = format!(
        "providers:\n  openai: {{ keys: [k] }}\nmodels:\n  chat:\n    targets: [openai/gpt-5.1]\n    mirror: {mirror}\n"
    );
    support::load(&yaml)
}

#[test]
fn a_mirror_has_health_limits_and_accounts_of_its_own_and_is_no_target_of_the_model() {
    let snapshot = load("{ target: openai/gpt-5.1, share: 2.5% }").unwrap();
    let model = snapshot.resolve("chat").unwrap();
    let mirror = model.settings.mirror.as_ref().unwrap();
    assert_eq!((model.targets.len(), mirror.share, mirror.in_flight), (1, 25_000, 16));
    let (own, callers) = (&mirror.model.targets[0], &model.targets[0]);
    assert_eq!((&*own.id, &*own.model, &*mirror.callers.id), ("openai/gpt-5.1#mirror", "gpt-5.1", "openai/gpt-5.1"));
    assert!(!Arc::ptr_eq(&own.health, &callers.health) && Arc::ptr_eq(&mirror.callers.health, &callers.health));
    assert!(!Arc::ptr_eq(&own.ledger, &callers.ledger) && !Arc::ptr_eq(&own.provider_health, &callers.provider_health));
    assert!(!Arc::ptr_eq(&own.credentials[0].health, &callers.credentials[0].health));
    assert_eq!(own.credentials[0].secret, callers.credentials[0].secret);
    let drawn = (0..100_000).filter(|seed| mirror.takes(*seed)).count();
    assert!((2_200..2_800).contains(&drawn), "{drawn}");
}

#[test]
fn what_is_wrong_with_a_mirror_is_said_at_its_line() {
    for (mirror, expected) in [
        ("{ share: 5% }", "target"),
        ("{ target: openai/m }", "share"),
        ("{ target: openai/m, share: 0 }", "at most 100%"),
        ("{ target: openai/m, share: 101% }", "at most 100%"),
        ("{ target: openai/m, share: 5%, in_flight: 0 }", "1 to 1024"),
        ("{ target: chat, share: 5% }", "is no target"),
        ("{ target: opnai/m, share: 5% }", "did you mean `openai`"),
        ("{ target: { target: openai/m, weight: 3 }, share: 5% }", "a mirror has one"),
    ] {
        let error = load(mirror).err().expect("refused");
        let is_there = [":6", ":7", "line 6 ", "line 7 "].iter().any(|line| error.contains(line));
        assert!(error.contains(expected) && is_there, "{mirror}: {error}");
    }
}
