//! What a day costs, by who chooses, and whether price guards keep to their caps while the primary is out:
//! `cargo run --release -p drill --example cost [SEEDS]`. docs/COST.md has the tables and what they are made of.

mod day;
mod outage;
mod serve;
mod text;
mod trace;

use day::{Day, Oracle, WAYS};
use outage::Outage;
use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;

/// Seeds of the printed tables, where the command line does not say.
const SEEDS: u64 = 10;
/// The fallbacks of the configuration, with what may be spent on each within an hour.
const FALLBACKS: [(&str, &str); 3] = [
    ("openai/gpt-5.4", "$8"),
    ("gemini/gemini-3.1-pro-preview", "$2"),
    ("anthropic/claude-opus-5-5", "none: dearer than 150 %"),
];

fn main() -> Result<(), Box<dyn Error>> {
    let seeds = std::env::args().nth(1).map_or(Ok(SEEDS), |text| text.parse())?.max(1);
    let mut out = std::io::stdout().lock();
    out.write_all(price_table()?.as_bytes())?;
    out.write_all(day_table(seeds)?.as_bytes())?;
    Ok(out.write_all(outage_table(seeds)?.as_bytes())?)
}

fn mean(of: impl Iterator<Item = f64>) -> f64 {
    let all: Vec<f64> = of.collect();
    all.iter().sum::<f64>() / all.len().max(1) as f64
}

fn price_table() -> Result<String, Box<dyn Error>> {
    let rows = Oracle::new(&day::snapshot(1)?)?.price_rows().join("\n");
    Ok(format!(
        "List prices of a million tokens\n\n| target | tier | input | output | page, read |\n\
         | --- | --- | --- | --- | --- |\n{rows}\n\n"
    ))
}

fn day_table(seeds: u64) -> Result<String, Box<dyn Error>> {
    let days: Vec<Day> = (1..=seeds).map(|seed| Day::new(seed, 1.0)).collect::<Result<_, _>>()?;
    let mut text = format!(
        "A day, seeds 1 to {seeds}\n\n\
         | who chooses | dollars a day | of the oracle | in the worst seed | answered below its floor | of the oracle, \
         those asked again |\n| --- | --- | --- | --- | --- | --- |\n"
    );
    let oracle = mean(days.iter().map(|day| day.oracle.as_dollars()));
    writeln!(text, "| oracle | {oracle:.2} | 1.000 | 1.000 | 0 % | 1.000 |")?;
    for (way, (name, ..)) in WAYS.iter().enumerate() {
        let bills: Vec<_> = days.iter().filter_map(|day| Some((day, day.bills.get(way)?))).collect();
        let ratios: Vec<[f64; 2]> = bills.iter().map(|(day, bill)| day.of_oracle(bill)).collect();
        let below = mean(bills.iter().map(|(_, bill)| bill.below_floor() as f64 / bill.requests as f64)) * 100.0;
        writeln!(
            text,
            "| {name} | {:.2} | {:.3} | {:.3} | {below:.1} % | {:.3} |",
            mean(bills.iter().map(|(_, bill)| bill.spent().as_dollars())),
            mean(ratios.iter().map(|[plain, _]| *plain)),
            ratios.iter().map(|[plain, _]| *plain).fold(0.0, f64::max),
            mean(ratios.iter().map(|[_, again]| *again)),
        )?;
    }
    let requests = mean(days.iter().filter_map(|day| Some(day.bills.first()?.requests as f64)));
    let refused: usize = days.iter().flat_map(|day| &day.bills).map(|bill| bill.refused).sum();
    writeln!(text, "\n{requests:.0} requests a day; {refused} refused in all.\n")?;
    Ok(text)
}

fn outage_table(seeds: u64) -> Result<String, Box<dyn Error>> {
    let both = |name: &str| (1..=seeds).map(|seed| Outage::new(name, seed)).collect::<Result<Vec<_>, _>>();
    let (with, without) = (both("guarded")?, both("unguarded")?);
    let mut text = format!(
        "Two hours without the primary, seeds 1 to {seeds}\n\n\
         | the worst of all seeds | cap | with guards | without |\n| --- | --- | --- | --- |\n"
    );
    let worst = |of: &dyn Fn(&Outage) -> f64, outages: &[Outage]| outages.iter().map(of).fold(0.0, f64::max);
    for (target, cap) in FALLBACKS {
        let hour = |outages: &[Outage]| worst(&|outage| outage.dearest_hour(target).as_dollars(), outages);
        writeln!(text, "| `{target}` within an hour | {cap} | ${:.4} | ${:.4} |", hour(&with), hour(&without))?;
    }
    let request = |outages: &[Outage]| worst(&|outage| outage.dearest_request().as_dollars(), outages);
    writeln!(text, "| one request | $0.10 | ${:.4} | ${:.4} |", request(&with), request(&without))?;
    let ratio = |outages: &[Outage]| worst(&Outage::dearest_ratio, outages) * 100.0;
    writeln!(
        text,
        "| an answer beside the primary's price | 150 % | {:.1} % | {:.1} % |",
        ratio(&with),
        ratio(&without)
    )?;
    let refused = |outages: &[Outage]| {
        mean(outages.iter().map(|outage| outage.bill.refused as f64 / outage.bill.requests as f64)) * 100.0
    };
    writeln!(
        text,
        "| refused, of all requests of four hours | | {:.1} % | {:.1} % |",
        refused(&with),
        refused(&without)
    )?;
    for (target, _) in FALLBACKS {
        let share = |outages: &[Outage]| mean(outages.iter().map(|outage| outage.share(target))) * 100.0;
        writeln!(text, "| answered by `{target}` | | {:.1} % | {:.1} % |", share(&with), share(&without))?;
    }
    Ok(text)
}
