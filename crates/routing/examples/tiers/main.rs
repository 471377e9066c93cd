//! What the complexity score is worth on labelled prompts it was not fitted to, beside prompt length and a draw:
//! `MAINSTAY_ROUTING_DATA=… cargo run -p routing --example tiers`.
//!
//! `tiers cost 10000` scores a request of 8 KiB so often, for a clock or an instruction counter around it.

mod curve;
mod data;

use curve::{Curve, QUALITIES, SHARES};
use data::Labelled;
use std::error::Error;
use std::fmt::Write as _;
use std::hint::black_box;
use std::io::Write as _;

/// Seeds of the draw.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=30;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("cost") {
        let times = arguments.next().ok_or("usage: tiers [cost TIMES]")?.parse()?;
        return Ok(cost(times)?);
    }
    let text = match data::folder() {
        Some(folder) => table("MMLU", &data::mmlu(&folder)?) + "\n" + &table("GSM8K", &data::gsm8k(&folder)?),
        None => "SKIPPED: no labelled prompts; set MAINSTAY_ROUTING_DATA to their folder\n".to_owned(),
    };
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

fn table(name: &str, prompts: &[Labelled]) -> String {
    let answered =
        |by: fn(&Labelled) -> bool| prompts.iter().filter(|it| by(it)).count() as f64 / prompts.len() as f64 * 100.0;
    let (weak, strong) = (answered(|it| it.weak), answered(|it| it.strong));
    let mut text = format!(
        "{name}: {} prompts; the weak model answers {weak:.1} %, the strong one {strong:.1} %\n\
         | router | APGR | kept at 20 % | 40 % | 60 % | 80 % sent to the strong model | sent for 50 % | 80 % | 95 % kept |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
        prompts.len()
    );
    let draws: Vec<Curve> = SEEDS.map(|seed| Curve::of(prompts, curve::random(seed))).collect();
    row(&mut text, "random, mean of 30 seeds", &draws);
    row(&mut text, "prompt length in tokens", &[Curve::of(prompts, curve::length)]);
    row(&mut text, "complexity score", &[Curve::of(prompts, curve::complexity)]);
    row(&mut text, "oracle", &[Curve::of(prompts, curve::oracle)]);
    text
}

fn row(text: &mut String, name: &str, curves: &[Curve]) {
    let mean = |of: &dyn Fn(&Curve) -> f64| curves.iter().map(of).sum::<f64>() / curves.len() as f64;
    let _ = write!(text, "| {name} | {:.3} |", mean(&Curve::apgr));
    for share in SHARES {
        let _ = write!(text, " {:.1} % |", mean(&|curve| curve.kept(share)) * 100.0);
    }
    for quality in QUALITIES {
        let _ = write!(text, " {:.1} % |", mean(&|curve| curve.needed(quality)) * 100.0);
    }
    text.push('\n');
}

/// Scores the same request again and again.
fn cost(times: u32) -> Result<(), serde_json::Error> {
    let sentence = "If the 3 terms of the polynomial x^2 + 4x = 12 are given, why must f(x) not be prime?\n";
    let ask = sentence.repeat((8 << 10) / sentence.len());
    let body = serde_json::to_vec(&serde_json::json!({
        "model": "m",
        "messages": [{ "role": "user", "content": ask }],
    }))?;
    let path = dialect::PathFacts::default();
    let scan = dialect::scan::scan(canon::DialectName::OpenaiChat, &path, &body).unwrap_or_default();
    for _ in 0..times {
        let features = routing::tier::Features::read(black_box(&scan), black_box(&body));
        black_box(routing::tier::Score::of(&features));
    }
    Ok(())
}
