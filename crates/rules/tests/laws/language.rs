//! What an expression says, and what is refused with the place of what is wrong.

use crate::world::{Known, World, at, compile, holds, judge, rule};
use canon::FaultClass;
use rules::{Counts, Failure, Moment, TargetFact, Written};
use std::time::Duration;

fn world() -> World {
    let mut world = World::default()
        .fact("a/1", TargetFact::RateLimitedFor, Known::Seconds(0.3))
        .fact("a/1", TargetFact::FirstTokenP95, Known::Seconds(2.5))
        .fact("a/1", TargetFact::Healthy, Known::Bool(true))
        .fact("a/1", TargetFact::Breaker, Known::Text("ramping"))
        .fact("a/1", TargetFact::InputPrice, Known::Double(1.25))
        .fact("b/1", TargetFact::InputPrice, Known::Double(2.5))
        .fact("a/1", TargetFact::InFlight, Known::Int(7));
    world.counts.insert(("a/1", Some(FaultClass::RateLimited)), Counts { all: 100, of_class: 25 });
    world.counts.insert(("a/1", None), Counts { all: 100, of_class: 30 });
    world.spent.insert("a/1", (Duration::from_secs(86_400), 20.5));
    world.labels.insert("team", "legal");
    world.headers.insert("x-tier", "bulk");
    world
}

/// Whether the condition is true of [`world`].
fn is_true(condition: &str, moment: Moment) -> bool {
    let set = compile(&[rule(condition)]).unwrap_or_else(|wrong| panic!("{condition}: {}", wrong.message));
    let world = world().of(&set);
    holds(&set, &world, moment)
}

#[test]
fn expressions_mean_what_they_mean_in_cel() {
    for (condition, expected) in [
        ("true", true),
        ("request.tokens < 32000 && request.tools", true),
        ("request.tokens == 1000.0 && 999.5 < request.tokens", true),
        ("request.tokens / 3 == 333 && request.tokens % 3 == 1", true),
        ("(request.tokens + 1) * 2 - 2 == 2000", true),
        ("double(request.tokens) / 3.0 > 333.3", true),
        ("int(1.9) == 1 && -1 < 0 && -1.5 < 0", true),
        ("request.model == 'chat' && request.dialect.startsWith(\"openai\")", true),
        ("request.key in [\"bot\", 'other'] && !(request.tokens in [1, 2])", true),
        ("'image' in request.modalities && !('audio' in request.modalities)", true),
        ("request.labels.team == 'legal' && request.labels['team'].contains('eg')", true),
        ("'team' in request.labels && !('tier' in request.labels)", true),
        ("has(request.labels.team) && !has(request.user) && !has(request.max_output_tokens)", true),
        ("request.headers['X-Tier'] == 'bulk' && request.headers['x-tier'].size() == 4", true),
        ("size(request.model) == 4 && request.model.endsWith('at')", true),
        ("target('a/1').rate_limited_for > duration('200ms')", true),
        ("target('a/1').rate_limited_for + duration('1s') < duration('1301ms')", true),
        ("target('a/1').first_token_p95 > duration('2s') ? request.stream : false", true),
        ("target('a/1').breaker in ['ramping', 'open'] && target('a/1').healthy", true),
        ("target('a/1').input_price * 1.5 < target('b/1').input_price", true),
        ("rate('a/1', 'rate_limited', duration('5m')) > 0.20", true),
        ("rate('a/1', 'any', duration('5m')) == 0.3 && samples('a/1', duration('1h')) == 100", true),
        ("spent('a/1', duration('24h')) > 20 && spent('a/1', duration('24h')) < 20.6", true),
        ("spent('b/1', duration('24h')) > 0 || spent('b/1', duration('24h')) <= 0", false),
        ("request.tokens > 1000 || request.reasoning", false),
        ("request.stream == false", false),
        ("1 > 2 ? true : false", false),
    ] {
        assert_eq!(is_true(condition, at(0.0)), expected, "{condition}");
    }
}

#[test]
fn what_is_unknown_makes_no_rule_hold_unless_the_rest_decides() {
    for (condition, expected) in [
        ("request.labels.tier == 'bulk'", false),
        ("request.labels.tier != 'bulk'", false),
        ("!(request.labels.tier == 'bulk')", false),
        ("request.labels.tier == 'bulk' || request.tools", true),
        ("request.tools || request.labels.tier == 'bulk'", true),
        ("request.labels.tier == 'bulk' && request.tools", false),
        ("target('c/1').first_token_p95 < duration('1s')", false),
        ("rate('c/1', 'overloaded', duration('10s')) < 0.5", false),
        ("samples('c/1', duration('10s')) == 0", true),
        ("has(target('c/1').region) || !has(target('c/1').region)", true),
    ] {
        assert_eq!(is_true(condition, at(0.0)), expected, "{condition}");
    }
}

#[test]
fn the_time_of_day_is_told_in_utc_or_at_an_offset() {
    // Friday, 21 November 2025, 22:30 UTC.
    let moment = Moment { unix_seconds: Some(1_763_764_200), ..at(0.0) };
    for condition in [
        "now.getHours() == 22 && now.getMinutes() == 30 && now.getDayOfWeek() == 5",
        "now.getHours('+02:00') == 0 && now.getDayOfWeek('+02:00') == 6",
        "now.getHours('-05:30') == 17 && now.getMinutes('-05:30') == 0",
    ] {
        assert!(is_true(condition, moment), "{condition}");
    }
    let unknown = Moment { unix_seconds: None, ..at(0.0) };
    assert!(!is_true("now.getHours() >= 0", unknown) && !is_true("now.getHours() < 0", unknown));
    let before_the_epoch = Moment { unix_seconds: Some(-1), ..at(0.0) };
    assert!(is_true("now.getHours() == 23 && now.getDayOfWeek() == 3", before_the_epoch));
}

#[test]
fn a_rule_that_fails_is_counted_and_skipped_and_the_next_one_holds() {
    let set = compile(&[
        rule("1 / (request.tokens - 1000) == 1"),
        rule("9223372036854775807 + request.tokens > 0"),
        rule("request.tools"),
    ])
    .unwrap();
    let world = World::default().of(&set);
    for times in [1, 2] {
        judge(&set, &world, at(0.0), |ruling| {
            assert_eq!(ruling.held.len(), 1);
            assert_eq!(&**ruling.held[0].name, "rule 3");
            let failed: Vec<_> =
                ruling.failed.iter().map(|(name, failure, times)| (&***name, *failure, *times)).collect();
            assert_eq!(failed, [("rule 1", Failure::DivisionByZero, times), ("rule 2", Failure::Overflow, times)]);
        });
    }
}

#[test]
fn what_is_wrong_is_refused_at_its_character() {
    for (condition, span, says) in [
        ("request.token < 1", "token", "did you mean `tokens`?"),
        ("tokens < 1", "tokens", "did you mean `request.tokens`?"),
        ("slow", "slow", "did you mean `target(\"provider/model\").slow`?"),
        ("elephants > 1", "elephants", "expected `request`, `now`"),
        ("request.tokens", "request.tokens", "expected bool, found int"),
        ("request.tools && request.tokens", "request.tokens", "expected bool, found int"),
        ("request.tokens > '32000'", "request.tokens > '32000'", "cannot compare int with string"),
        ("target('a/1').rate_limited_for > '200ms'", "target('a/1').rate_limited_for > '200ms'", "duration(\"200ms\")"),
        ("target('a/1').rate_limited_for > 200", "target('a/1').rate_limited_for > 200", "duration(\"200ms\")"),
        ("target('a/2').slow", "'a/2'", "did you mean `a/1`?"),
        ("target('nobody/at-all').slow", "'nobody/at-all'", "known are a/1, b/1"),
        ("target('a/1').sloow", "sloow", "did you mean `slow`?"),
        ("target('a/1')", "target('a/1')", "expected bool, found a target"),
        ("target(request.model).slow", "request.model", "in quotes"),
        ("target('a/1').breaker == 'opne'", "'opne'", "expected one of closed, ramping"),
        ("target('a/1').breaker in ['open', 'shut']", "'shut'", "no breaker is ever"),
        ("rate('a/1', 'ratelimited', duration('5m')) > 0.1", "'ratelimited'", "did you mean `rate_limited`?"),
        ("rate('a/1', 'cancelled', duration('5m')) > 0.1", "'cancelled'", "no class of faults"),
        ("rate('a/1', 'any', duration('2h')) > 0.1", "duration('2h')", "from 1s to 1h"),
        ("spent('a/1', duration('800h')) > 1", "duration('800h')", "from 1s to 744h"),
        ("rate('a/1', 'any', '5m') > 0.1", "'5m'", "expected duration, found string"),
        ("rate('a/1', 'any') > 0.1", "rate('a/1', 'any')", "expected 3 arguments"),
        ("duration('5 parsecs') > duration('1s')", "'5 parsecs'", "no length of time"),
        ("rates('a/1') > 0.1", "rates", "did you mean `rate`?"),
        ("request.model.matches('.*')", "matches", "no regular expressions"),
        ("request.modalities.exists(m, m == 'image')", "exists", "no comprehensions"),
        ("'images' in request.modalities", "'images'", "expected one of text, image"),
        ("request.tokens in ['a']", "request.tokens", "expected string as in the list"),
        ("request.tokens in [1, 'a']", "'a'", "expected int as before it"),
        ("request.tokens in []", "[]", "empty list"),
        ("request.tools < true", "request.tools < true", "cannot order bools"),
        ("request.tokens + 1.5 > 2.0", "request.tokens + 1.5", "two of a kind"),
        ("request.model + 'x' == 'y'", "request.model + 'x'", "no new strings"),
        ("request.headers.authorization == 'x'", "authorization", "holds a credential"),
        ("request.headers['X-Api-Key'] == 'x'", "'X-Api-Key'", "holds a credential"),
        ("has(1 < 2)", "1 < 2", "expected a fact"),
        ("now.getHours('Europe/Berlin') > 1", "'Europe/Berlin'", "no offset from UTC"),
        ("now.hour > 1", "hour", "now.getHours()"),
        ("now.getYear() > 1", "getYear", "no function"),
        ("-request.model == 'x'", "request.model", "after `-`"),
        ("request.tools ? 1 : 'a'", "'a'", "expected int, found string"),
        ("request.labels == 'x'", "request.labels", "expected a single value, found map of strings"),
        ("request.tools &&", "", "found the end"),
        ("request.tools and true", "and", "expected an operator"),
    ] {
        let wrong = compile(&[rule("true"), rule(condition)]).map(drop).expect_err(condition);
        assert_eq!((wrong.rule, wrong.field), (1, "if"), "{condition}");
        let at = wrong.span.clone().unwrap();
        assert_eq!(condition.get(at).unwrap(), span, "{condition}: {}", wrong.message);
        assert!(wrong.message.contains(says), "{condition}: {}", wrong.message);
    }
}

#[test]
fn what_a_rule_remembers_must_not_depend_on_a_request() {
    let remembering = |condition, until| Written { hold: Some(Duration::from_secs(1)), until, ..rule(condition) };
    let mixed = "target('a/1').slow || request.tools";
    let wrong = compile(&[remembering(mixed, None)]).unwrap_err();
    assert_eq!(wrong.span, Some(0..mixed.len()));
    assert!(wrong.message.contains("`&&` between them"), "{}", wrong.message);
    let wrong = compile(&[remembering("request.tools", None)]).unwrap_err();
    assert!(wrong.message.contains("asks nothing of the request"), "{}", wrong.message);
    let wrong = compile(&[remembering("target('a/1').slow", Some("request.tokens < 5"))]).unwrap_err();
    assert_eq!((wrong.field, wrong.span), ("until", Some(0..18)));
    assert!(compile(&[remembering("target('a/1').slow && request.tools", None)]).is_ok());
    assert!(compile(&[rule(mixed)]).is_ok(), "without memory it is asked each time");
}

#[test]
fn a_rule_says_what_it_does_to_whom_and_says_it_once() {
    let nothing = Written { actions: rules::Actions::default(), ..rule("true") };
    assert!(compile(&[nothing]).unwrap_err().message.contains("does nothing"));
    let mut unknown = rule("true");
    unknown.actions.avoid = vec!["b/*".to_owned(), "b/3".to_owned()];
    let wrong = compile(&[unknown]).unwrap_err();
    assert_eq!(wrong.field, "avoid");
    assert!(wrong.message.contains("`b/3`"), "{}", wrong.message);
    let twice = || Written { name: Some("n"), ..rule("true") };
    assert_eq!(compile(&[twice(), twice()]).unwrap_err().field, "name");
    let without = Written { min_samples: Some(5), ..rule("request.tools") };
    assert_eq!(compile(&[without]).unwrap_err().field, "min_samples");
}

#[test]
fn a_target_is_summed_up_over_a_few_windows_and_no_more() {
    let hours = |hours: std::ops::Range<u32>| {
        let parts: Vec<String> = hours.map(|it| format!("spent('a/1', duration('{it}h')) > 1.0")).collect();
        parts.join(" || ")
    };
    let (four, five) = (hours(1..5), hours(1..6));
    assert_eq!(compile(&[rule(&four), rule(&four)]).unwrap().spends().len(), 4);
    let wrong = compile(&[rule(&five)]).unwrap_err();
    assert!(wrong.message.contains("at most 4 windows"), "{}", wrong.message);
    assert_eq!(five.get(wrong.span.unwrap()), Some("duration('5h')"));
}
