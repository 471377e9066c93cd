//! What a day costs: the program that prints the tables of docs/COST.md, and the bars they are held to.

#[path = "../examples/cost/day.rs"]
mod day;
#[path = "../examples/cost/outage.rs"]
mod outage;
#[path = "../examples/cost/serve.rs"]
mod serve;
#[path = "../examples/cost/text.rs"]
mod text;
#[path = "../examples/cost/trace.rs"]
mod trace;

use catalog::Usd;
use day::{Day, Oracle};
use outage::Outage;
use trace::Trace;

const SEEDS: std::ops::RangeInclusive<u64> = 1..=3;
/// Of the traffic: the same mix in a fraction of the time.
const SHARE: f64 = 0.2;

#[test]
fn the_cheapest_of_the_labelled_tier_costs_at_most_a_tenth_more_than_whoever_knows_everything() {
    for seed in SEEDS {
        let day = Day::new(seed, SHARE).unwrap();
        let ratios: Vec<[f64; 2]> = day.bills.iter().map(|bill| day.of_oracle(bill)).collect();
        let [labelled, premium, length, complexity, random, bulk] = ratios.try_into().unwrap();
        assert!((1.0..=1.10).contains(&labelled[0]), "seed {seed}: {labelled:?}");
        assert!(day.bills.iter().all(|bill| bill.refused == 0), "seed {seed}");
        assert_eq!(day.bills[0].below_floor(), 0, "seed {seed}: a label is a floor");
        // The bar tells ways of choosing apart: none of the others meets it once its mistakes are paid for.
        for (name, [_, again]) in
            [("premium", premium), ("length", length), ("complexity", complexity), ("random", random), ("bulk", bulk)]
        {
            assert!(again > 1.10, "seed {seed}: {name} {again}");
        }
    }
}

#[test]
fn price_guards_keep_to_their_caps_in_a_two_hour_outage_of_the_primary() {
    let usd = |text: &str| Usd::parse(text).unwrap();
    for seed in SEEDS {
        let with = Outage::new("guarded", seed).unwrap();
        let within = |target: &str| with.dearest_hour(target);
        for (target, cap) in [("openai/gpt-5.4", "8"), ("gemini/gemini-3.1-pro-preview", "2")] {
            assert!(within(target) <= usd(cap), "seed {seed}: {} on {target}", within(target));
        }
        assert!(with.dearest_request() <= usd("0.10"), "seed {seed}: {}", with.dearest_request());
        assert!(with.dearest_ratio() <= 1.5, "seed {seed}: {}", with.dearest_ratio());
        assert_eq!(within("anthropic/claude-opus-5-5"), Usd::ZERO, "seed {seed}");
        assert!(with.share("gemini/gemini-3.1-pro-preview") > 0.01, "seed {seed}: the next in line took over");
        assert!(within("openai/gpt-5.4") > usd("7"), "seed {seed}: the cap was reached");
    }
    // The caps are what holds it: without them the same hours cost more than they allow.
    let without = Outage::new("unguarded", *SEEDS.start()).unwrap();
    assert!(without.dearest_hour("openai/gpt-5.4") > usd("8"));
}

#[test]
fn the_prices_of_the_page_are_those_of_the_catalogue() {
    let page = include_str!("../../../docs/COST.md");
    let rows = Oracle::new(&day::snapshot(1).unwrap()).unwrap().price_rows();
    assert_eq!(rows.len(), 9, "a target without a price, or without its source");
    for row in rows {
        assert!(page.contains(&row), "docs/COST.md does not say: {row}");
    }
}

#[test]
fn a_day_has_the_shape_that_is_asked_for_and_the_same_seed_is_the_same_day() {
    let day: Vec<_> = Trace::new(7, (0.0, 24.0), SHARE).map(|request| (request.at, request.task)).collect();
    let again: Vec<_> = Trace::new(7, (0.0, 24.0), SHARE).map(|request| (request.at, request.task)).collect();
    assert_eq!(day, again);
    let within = |from: u64, to: u64| {
        day.iter().filter(|(at, _)| (from * 3_600..to * 3_600).contains(&at.since_origin().as_secs())).count() as f64
    };
    let noon = within(11, 13) / 2.0 / SHARE;
    let night = f64::midpoint(within(0, 1), within(23, 24)) / SHARE;
    assert!((1_800.0..2_100.0).contains(&noon) && (120.0..320.0).contains(&night), "{noon} {night}");
    for (task, expected) in [
        (trace::Task::Chat, 0.40),
        (trace::Task::Tools, 0.20),
        (trace::Task::Summarise, 0.15),
        (trace::Task::Classify, 0.15),
        (trace::Task::LongContext, 0.10),
    ] {
        let share = day.iter().filter(|(_, it)| *it == task).count() as f64 / day.len() as f64;
        assert!((share - expected).abs() < 0.02, "{task:?} {share}");
    }
}
