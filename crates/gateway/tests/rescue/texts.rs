//! What is cut: generated texts of every kind a model writes, and recorded answers where there are any.

use crate::recorded;

/// A text and what it is.
pub(crate) struct Text {
    pub(crate) name: String,
    pub(crate) said: String,
    /// Says the same again and again: a target that starts anew may not be joined.
    pub(crate) repeats: bool,
}

/// How many texts are cut; `MAINSTAY_SEAMS` says so.
pub(crate) fn count(default: usize) -> usize {
    #[expect(clippy::disallowed_methods, reason = "the length of a run is set by the environment")]
    let asked = std::env::var("MAINSTAY_SEAMS").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or(default)
}

/// At most `most` texts: generated and recorded ones in turn, none longer than 400 bytes.
pub(crate) fn all(most: usize) -> Vec<Text> {
    let mut recorded = recorded::answers(most / 2).into_iter().map(|answer| Text {
        name: format!("{}/{}", answer.provider, answer.model),
        repeats: repeats(&answer.text),
        said: until(&answer.text, 400).trim_end().to_owned(),
    });
    let mut all = Vec::new();
    for seed in 0.. {
        all.push(generated(seed));
        all.extend(recorded.next());
        if all.len() >= most {
            break;
        }
    }
    all.truncate(most);
    all
}

fn until(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

/// A passage of 24 characters that comes twice.
fn repeats(text: &str) -> bool {
    let starts: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    starts.iter().enumerate().any(|(index, at)| {
        let (Some(next), Some(end)) = (starts.get(index + 1), starts.get(index + 24)) else { return false };
        text.get(*next..).unwrap().contains(text.get(*at..*end).unwrap())
    })
}

fn generated(seed: u64) -> Text {
    let mut rng = fastrand::Rng::with_seed(seed);
    let words = |rng: &mut fastrand::Rng, list: &[&str], count: usize, between: &str| {
        (0..count).map(|_| list[rng.usize(..list.len())]).collect::<Vec<_>>().join(between)
    };
    let number = |rng: &mut fastrand::Rng| rng.u32(10..10_000);
    let (kind, text) = match seed % 6 {
        0 => ("prose", words(&mut rng, &PROSE, 38, " ") + "."),
        1 => ("emoji", words(&mut rng, &EMOJI, 30, " ")),
        2 => ("chinese", words(&mut rng, &HAN, 36, "")),
        3 => {
            let line = |rng: &mut fastrand::Rng| format!("    let {} = {};", words(rng, &PROSE, 1, ""), number(rng));
            let lines: Vec<String> = (0..7).map(|_| line(&mut rng)).collect();
            ("code", format!("```rust\nfn main() {{\n{}\n}}\n```\n\nIt is done.", lines.join("\n")))
        }
        4 => {
            let row = |rng: &mut fastrand::Rng| format!("| {} | {} |", words(rng, &PROSE, 1, ""), number(rng));
            let rows: Vec<String> = (0..9).map(|_| row(&mut rng)).collect();
            ("table", format!("| word | n |\n|---|---|\n{}\n", rows.join("\n")))
        }
        _ => {
            let unit = ["ha ", "哈", "| a | b |\n", "👩‍💻", "All work and no play. "][rng.usize(..5)];
            ("repetitive", unit.repeat(240 / unit.len()).trim_end().to_owned() + " end")
        }
    };
    Text { name: format!("{kind} {seed}"), repeats: repeats(&text), said: text }
}

const PROSE: [&str; 24] = [
    "harbour", "the", "lantern", "quietly,", "folds", "a", "map", "of", "seven", "islands;", "nobody", "counts",
    "twice,", "ferries", "return", "at", "dawn", "with", "salt", "on", "their", "ropes", "and", "songs",
];
const EMOJI: [&str; 12] = ["🚀", "👩‍💻", "👨‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "e\u{301}tude", "🇫🇷", "“so”", "naïve", "café", "ﷺ", "—"];
const HAN: [&str; 14] = [
    "断路",
    "观察",
    "目标，",
    "失败",
    "过多",
    "时",
    "停止。",
    "恢复",
    "安静",
    "流量",
    "逐步",
    "延长；",
    "判断",
    "什么",
];
