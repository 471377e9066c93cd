//! The complexity score: points for what a request shows of the work it asks for, 0 to 100.
//!
//! The weights are reasoned, not fitted: to each stands what is published about it. They were chosen before the score
//! was run against labelled prompts, and the figure that came out is in `docs/TIERS.md`. All arithmetic is in whole
//! thousandths of a point, so that the same request has the same score everywhere.

use super::Features;
use std::fmt;

/// The most points a request can have.
pub const MOST_POINTS: u32 = 100;

/// Thousandths of a point.
const POINT: i64 = 1_000;

/// Something the score looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    /// How long the ask is. Answers get worse with length even where the task stays the same (Levy et al. 2024, "Same
    /// Task, More Tokens"), and who writes more has more to be met: 4 a doubling above 64 characters, to 32.
    Length,
    /// How much else is in the prompt: what matters has to be found in it (Liu et al. 2023, "Lost in the Middle"). 1.5
    /// a doubling above 1,024 tokens, to 12.
    Context,
    /// Turns: a conversation is answered worse than the same question in one turn (Laban et al. 2025, "LLMs Get Lost in
    /// Multi-Turn Conversation"). 1 a doubling, to 5.
    Turns,
    /// Tools offered: smaller models fall behind most where they choose among several (Patil et al., Berkeley Function
    /// Calling Leaderboard). 3, and 1 a doubling of their size above 512 bytes, to 10.
    Tools,
    /// A loop with tools is under way: a wrong step costs all that follow. 3.
    ToolHistory,
    /// Output bound to a schema: reasoning suffers from it (Tam et al. 2024, "Let Me Speak Freely?"). 3.
    Schema,
    /// Images, documents or sound beside the words. 6.
    Media,
    /// The caller asks for reasoning, and knows the task best. 15.
    Reasoning,
    /// A cap of at most 64 output tokens leaves room for a label or a word: minus 8.
    ShortOutput,
    /// Numbers: each is an operand, each step can fail, and steps multiply (Dziri et al. 2023, "Faith and Fate";
    /// Mirzadeh et al. 2024, "GSM-Symbolic"). 2 each, to 16.
    Numbers,
    /// Mathematics: with code and reasoning where weaker models fall behind most (Zheng et al. 2023, MT-Bench by
    /// category). 3 a doubling, to 12.
    Maths,
    /// Code, for the same reason. 3 a doubling, to 12.
    Code,
    /// Words that ask for work of several steps: design, prove, debug. 5 each, to 15.
    HardWords,
    /// Words that ask for words to be moved: classify, extract, translate, summarise. Size buys little there (Zhang et
    /// al. 2023, "Benchmarking Large Language Models for News Summarization"). Minus 5 each, to minus 10.
    EasyWords,
    /// Negations: models miss them, small ones more (Truong et al. 2023, "Language models are not naysayers"). 2 each,
    /// to 6.
    Negations,
    /// Conditions: the more an answer has to meet, the fewer of them it meets (Jiang et al. 2023, "`FollowBench`"). 1
    /// each, to 6.
    Conditions,
    /// Long words: terms of a field, and rare knowledge grows with size (Kandpal et al. 2023, "Large Language Models
    /// Struggle to Learn Long-Tail Knowledge"). 1.5 a doubling, to 8.
    LongWords,
}

impl Feature {
    /// All of them, in the order they are shown.
    pub const ALL: [Self; 17] = [
        Self::Length,
        Self::Context,
        Self::Turns,
        Self::Tools,
        Self::ToolHistory,
        Self::Schema,
        Self::Media,
        Self::Reasoning,
        Self::ShortOutput,
        Self::Numbers,
        Self::Maths,
        Self::Code,
        Self::HardWords,
        Self::EasyWords,
        Self::Negations,
        Self::Conditions,
        Self::LongWords,
    ];

    /// Its name, as traces and `explain` show it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Context => "context",
            Self::Turns => "turns",
            Self::Tools => "tools",
            Self::ToolHistory => "tool_history",
            Self::Schema => "schema",
            Self::Media => "media",
            Self::Reasoning => "reasoning",
            Self::ShortOutput => "short_output",
            Self::Numbers => "numbers",
            Self::Maths => "maths",
            Self::Code => "code",
            Self::HardWords => "hard_words",
            Self::EasyWords => "easy_words",
            Self::Negations => "negations",
            Self::Conditions => "conditions",
            Self::LongWords => "long_words",
        }
    }

    /// What was seen of it, and the thousandths of a point that is worth.
    fn part(self, seen: &Features) -> (u64, i64) {
        let flag = |is: bool, points: i64| (u64::from(is), if is { points * POINT } else { 0 });
        let each = |count: u32, points: i64, most: i64| {
            let sum = i64::from(count) * points * POINT;
            (u64::from(count), if points < 0 { sum.max(most * POINT) } else { sum.min(most * POINT) })
        };
        let doublings =
            |count: u64, above: u64, per: i64, most: i64| (count, rise(count, above, per).min(most * POINT));
        let marks =
            |count: u32, per: i64, most: i64| (u64::from(count), rise(u64::from(count) + 1, 1, per).min(most * POINT));
        match self {
            Self::Length => doublings(seen.letters, 64, 4_000, 32),
            Self::Context => doublings(seen.prompt_tokens, 1_024, 1_500, 12),
            Self::Turns => doublings(u64::from(seen.turns), 1, 1_000, 5),
            Self::Tools if seen.tool_bytes == 0 => (0, 0),
            Self::Tools => {
                let size = rise(seen.tool_bytes, 512, 1_000);
                (seen.tool_bytes, (3 * POINT + size).min(10 * POINT))
            }
            Self::ToolHistory => flag(seen.has_tool_history, 3),
            Self::Schema => flag(seen.has_schema, 3),
            Self::Media => flag(seen.has_media, 6),
            Self::Reasoning => flag(seen.asks_for_reasoning, 15),
            Self::ShortOutput => flag(seen.max_output_tokens.is_some_and(|cap| cap <= SHORT_OUTPUT), -8),
            Self::Numbers => each(seen.numbers, 2, 16),
            Self::Maths => marks(seen.maths, 3_000, 12),
            Self::Code => marks(seen.code, 3_000, 12),
            Self::HardWords => each(seen.hard_words, 5, 15),
            Self::EasyWords => each(seen.easy_words, -5, -10),
            Self::Negations => each(seen.negations, 2, 6),
            Self::Conditions => each(seen.conditions, 1, 6),
            Self::LongWords => marks(seen.long_words, 1_500, 8),
        }
    }
}

/// A cap on output, in tokens, below which nothing but a word or a label fits.
const SHORT_OUTPUT: u64 = 64;

/// `per` thousandths for every doubling of `count` above `above`. Between two doublings it rises in a straight line.
fn rise(count: u64, above: u64, per: i64) -> i64 {
    // Counts and bounds are far below 2⁴⁰: bytes, tokens and characters of one body.
    let ratio = count.min(1 << 40).saturating_mul(POINT.unsigned_abs()) / above.max(1);
    let whole = ratio.max(POINT.unsigned_abs()) / POINT.unsigned_abs();
    let doublings = i64::from(whole.ilog2());
    let base = POINT.unsigned_abs() << whole.ilog2();
    let over = ratio.saturating_sub(base);
    let fraction = i64::try_from(over * POINT.unsigned_abs() / base).unwrap_or(0);
    (doublings * POINT + fraction) * per / POINT
}

/// One feature of a request with its points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Which.
    pub feature: Feature,
    /// How much of it was seen: characters, bytes, tokens or a count; 1 for what is only there or not.
    pub seen: u64,
    /// Thousandths of a point.
    pub thousandths: i64,
}

/// A request's score, with its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Score {
    parts: [Part; Feature::ALL.len()],
}

impl Score {
    /// Scores what was seen of a request.
    pub fn of(seen: &Features) -> Self {
        let parts = Feature::ALL.map(|feature| {
            let (count, thousandths) = feature.part(seen);
            Part { feature, seen: count, thousandths }
        });
        Self { parts }
    }

    /// The sum in thousandths of a point, within 0 and [`MOST_POINTS`].
    pub fn thousandths(&self) -> u32 {
        let sum: i64 = self.parts.iter().map(|part| part.thousandths).sum();
        u32::try_from(sum.clamp(0, i64::from(MOST_POINTS) * POINT)).unwrap_or(0)
    }

    /// The features that gave or took points.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter().filter(|part| part.thousandths != 0)
    }
}

/// `{"points": 31.2, "parts": [{"feature": "length", "seen": 512, "points": 12.0}]}`.
impl serde::Serialize for Score {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(serde::Serialize)]
        struct PartView {
            feature: Feature,
            seen: u64,
            points: f64,
        }
        #[derive(serde::Serialize)]
        struct View {
            points: f64,
            parts: Vec<PartView>,
        }
        let points = |thousandths: i64| thousandths as f64 / POINT as f64;
        let part = |part: &Part| PartView { feature: part.feature, seen: part.seen, points: points(part.thousandths) };
        View { points: points(i64::from(self.thousandths())), parts: self.parts().map(part).collect() }
            .serialize(serializer)
    }
}

/// `31.2 = length 12.0 (512) + numbers 6.0 (3) − easy_words 5.0 (1)`.
impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", tenths(u64::from(self.thousandths())))?;
        for (index, part) in self.parts().enumerate() {
            let sign = match (index, part.thousandths < 0) {
                (0, false) => " = ",
                (0, true) => " = −",
                (_, false) => " + ",
                (_, true) => " − ",
            };
            let points = tenths(part.thousandths.unsigned_abs());
            write!(f, "{sign}{} {points} ({})", part.feature.as_str(), part.seen)?;
        }
        Ok(())
    }
}

/// Thousandths of a point as people read them.
pub(super) fn tenths(thousandths: u64) -> String {
    let tenths = (thousandths + 50) / 100;
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_rise_is_a_whole_step_at_each_doubling_and_a_straight_line_between() {
        let steps = [0, 63, 64, 96, 128, 256, 384].map(|count| rise(count, 64, 4_000));
        assert_eq!(steps, [0, 0, 0, 2_000, 4_000, 8_000, 10_000]);
    }

    #[test]
    fn a_short_question_is_worth_next_to_nothing_and_a_proof_about_a_matrix_a_lot() {
        let short = Score::of(&Features { letters: 40, prompt_tokens: 20, turns: 1, ..Features::default() });
        assert_eq!((short.thousandths(), short.parts().count()), (0, 0));
        let proof =
            Features { letters: 512, prompt_tokens: 140, turns: 1, maths: 7, hard_words: 1, ..Features::default() };
        assert_eq!(Score::of(&proof).to_string(), "26.0 = length 12.0 (512) + maths 9.0 (7) + hard_words 5.0 (1)");
    }

    #[test]
    fn what_takes_points_is_shown_as_taking_them_and_no_score_is_below_nothing() {
        let label =
            Features { letters: 32, turns: 1, easy_words: 3, max_output_tokens: Some(4), ..Features::default() };
        assert_eq!(Score::of(&label).to_string(), "0.0 = −short_output 8.0 (1) − easy_words 10.0 (3)");
    }

    fn features() -> impl Strategy<Value = Features> {
        let text = (0_u64..1 << 50, 0_u32..5_000, 0_u32..5_000, 0_u32..5_000, 0_u32..40, 0_u32..40);
        let form = (0_u64..1 << 50, 0_u32..100_000, 0_u64..1 << 50, any::<[bool; 4]>(), any::<Option<u64>>());
        (text, form, 0_u32..5_000, any::<u32>(), any::<u32>()).prop_map(|(text, form, conditions, negations, long)| {
            let (letters, numbers, maths, code, hard_words, easy_words) = text;
            let (prompt_tokens, turns, tool_bytes, flags, max_output_tokens) = form;
            let [has_tool_history, has_schema, has_media, asks_for_reasoning] = flags;
            Features {
                letters,
                prompt_tokens,
                turns,
                tool_bytes,
                has_tool_history,
                has_schema,
                has_media,
                asks_for_reasoning,
                max_output_tokens,
                numbers,
                maths,
                code,
                hard_words,
                easy_words,
                negations,
                conditions,
                long_words: long,
            }
        })
    }

    proptest! {
        #[test]
        fn a_score_is_the_sum_of_its_parts_and_never_leaves_its_range(seen in features()) {
            let score = Score::of(&seen);
            let sum: i64 = score.parts().map(|part| part.thousandths).sum();
            prop_assert_eq!(i64::from(score.thousandths()), sum.clamp(0, 100_000));
        }

        #[test]
        fn more_of_what_is_hard_never_lowers_a_score(seen in features(), more in 1_u32..1_000) {
            let score = Score::of(&seen).thousandths();
            let grown = [
                Features { letters: seen.letters + u64::from(more), ..seen },
                Features { prompt_tokens: seen.prompt_tokens + u64::from(more), ..seen },
                Features { turns: seen.turns + more, ..seen },
                Features { tool_bytes: seen.tool_bytes + u64::from(more), ..seen },
                Features { numbers: seen.numbers + more, ..seen },
                Features { maths: seen.maths + more, ..seen },
                Features { code: seen.code + more, ..seen },
                Features { hard_words: seen.hard_words + more, ..seen },
            ];
            for grown in grown {
                prop_assert!(Score::of(&grown).thousandths() >= score, "{:?}", grown);
            }
        }
    }
}
