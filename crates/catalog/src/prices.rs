//! What a model costs: a price list with its exceptions by time of day and by length of prompt.
//!
//! A list is taken as a whole or not at all: prices from two sources are never mixed. What a list does not state is
//! unknown.

use crate::money::{Rate, Usd};
use crate::written::Written;
use canon::Usage;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

const MINUTES_OF_HOUR: u32 = 60;
const MINUTES_OF_DAY: u32 = 24 * MINUTES_OF_HOUR;
/// From the first of March of the year 0 to the Unix epoch.
const DAYS_TO_EPOCH: u64 = 719_468;

/// The price list of a model, in US dollars per million tokens.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// Of input.
    pub input: Rate,
    /// Of output, reasoning included.
    pub output: Rate,
    /// Of input read from a prompt cache; unknown when not stated.
    #[serde(default)]
    pub cached_input: Option<Rate>,
    /// Of input written to a prompt cache; unknown when not stated.
    #[serde(default)]
    pub cache_write: Option<Rate>,
    /// What is different at some hours or for long prompts; of two that hold at once the later wins, price by price.
    #[serde(default)]
    pub when: Vec<PriceChange>,
    /// The page that states it.
    #[serde(default)]
    pub source: Option<String>,
    /// When the page said so: `2026-10-24`, or `2026-10`.
    #[serde(default)]
    pub read: Option<String>,
}

/// Prices that hold at some hours, or for long prompts. What is not stated stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PriceChange {
    /// From this time of day, UTC: `16:30`.
    pub from: Option<TimeOfDay>,
    /// To this time of day, UTC; may be past midnight.
    pub to: Option<TimeOfDay>,
    /// On these days alone, UTC; the day a window past midnight began on counts.
    pub days: Option<Vec<Day>>,
    /// For prompts of more tokens than this alone; the price then holds for the whole request.
    pub above: Option<u64>,
    /// Of input.
    pub input: Option<Rate>,
    /// Of output.
    pub output: Option<Rate>,
    /// Of input read from a prompt cache.
    pub cached_input: Option<Rate>,
    /// Of input written to a prompt cache.
    pub cache_write: Option<Rate>,
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the days of the week")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl Day {
    /// From the first day of the Unix epoch, a Thursday, on.
    const SINCE_EPOCH: [Self; 7] = [Self::Thu, Self::Fri, Self::Sat, Self::Sun, Self::Mon, Self::Tue, Self::Wed];
}

/// A minute of the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOfDay(u32);

impl TimeOfDay {
    /// `16:30`; `24:00` is the end of the day.
    pub fn parse(text: &str) -> Option<Self> {
        let (hours, minutes) = text.trim().split_once(':')?;
        let number = |part: &str, digits: std::ops::RangeInclusive<usize>| {
            (digits.contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse().ok())?
        };
        let (hours, minutes): (u32, u32) = (number(hours, 1..=2)?, number(minutes, 2..=2)?);
        let minute = hours * MINUTES_OF_HOUR + minutes;
        (minutes < MINUTES_OF_HOUR && minute <= MINUTES_OF_DAY).then_some(Self(minute))
    }
}

/// A moment on the calendar, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Seconds since the Unix epoch.
    seconds: u64,
}

impl Moment {
    /// So many seconds after the Unix epoch.
    pub fn from_unix(seconds: u64) -> Self {
        Self { seconds }
    }

    /// Seconds since the Unix epoch.
    pub fn unix(self) -> u64 {
        self.seconds
    }

    /// `2026-11-21T09:30` in UTC, with a space for the `T` if you like.
    pub fn parse(text: &str) -> Option<Self> {
        let (date, time) = text.trim().trim_end_matches('Z').split_once(['T', ' '])?;
        let time = TimeOfDay::parse(time).filter(|_| crate::load::is_date(date))?;
        let mut parts = date.split('-').map(|part| part.parse::<u64>().ok());
        let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
        // Counted from March, so that the day a leap year adds is the last of its year.
        let (year, month) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
        let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
        Some(Self { seconds: days.checked_sub(DAYS_TO_EPOCH)? * 86_400 + u64::from(time.0) * 60 })
    }

    fn minute(self) -> u32 {
        u32::try_from(self.seconds / 60 % u64::from(MINUTES_OF_DAY)).unwrap_or(0)
    }

    /// The day of the week, or of the day before.
    fn day(self, days_ago: u64) -> Option<Day> {
        let day = (self.seconds / 86_400).checked_sub(days_ago)? % 7;
        Day::SINCE_EPOCH.get(usize::try_from(day).ok()?).copied()
    }
}

/// The prices of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// Of input.
    pub input: Rate,
    /// Of output.
    pub output: Rate,
    /// Of input read from a prompt cache; `None` = unknown.
    pub cached_input: Option<Rate>,
    /// Of input written to a prompt cache; `None` = unknown.
    pub cache_write: Option<Rate>,
}

impl PriceChange {
    fn holds(&self, moment: Option<Moment>, prompt_tokens: u64) -> bool {
        if self.above.is_some_and(|tokens| prompt_tokens <= tokens) {
            return false;
        }
        if self.from.is_none() && self.days.is_none() {
            return true;
        }
        let Some(moment) = moment else { return false };
        let minute = moment.minute();
        let began = match (self.from, self.to) {
            (Some(from), Some(to)) if from.0 < to.0 => (from.0..to.0).contains(&minute).then_some(0),
            (Some(from), Some(_)) if minute >= from.0 => Some(0),
            (Some(_), Some(to)) => (minute < to.0).then_some(1),
            _ => Some(0),
        };
        let Some(days_ago) = began else { return false };
        let on_day = |days: &Vec<Day>| moment.day(days_ago).is_some_and(|day| days.contains(&day));
        self.days.as_ref().is_none_or(on_day)
    }

    /// What is wrong with it, as what was found and what was expected.
    fn flaw(&self) -> Option<(&'static str, &'static str)> {
        if self.from.is_some() != self.to.is_some() {
            return Some(("one of `from` and `to`", "both: { from: \"16:30\", to: \"00:30\" }, UTC"));
        }
        if self.from.is_some() && self.from == self.to {
            return Some(("a window from a time to the same time", "two times, or `days` alone"));
        }
        if self.days.as_ref().is_some_and(Vec::is_empty) {
            return Some(("no day", "some of mon, tue, wed, thu, fri, sat, sun"));
        }
        if self.from.is_none() && self.days.is_none() && self.above.is_none() {
            return Some(("no condition", "`from` and `to`, `days`, or `above`"));
        }
        let states_a_price = [self.input, self.output, self.cached_input, self.cache_write].iter().any(Option::is_some);
        (!states_a_price).then_some(("no price", "`input`, `output`, `cached_input` or `cache_write`"))
    }
}

impl Prices {
    /// The prices of a request of so many prompt tokens. Without a moment those that hold at any hour.
    #[inline]
    pub fn at(&self, moment: Option<Moment>, prompt_tokens: u64) -> Rates {
        let listed = Rates {
            input: self.input,
            output: self.output,
            cached_input: self.cached_input,
            cache_write: self.cache_write,
        };
        self.when.iter().filter(|change| change.holds(moment, prompt_tokens)).fold(listed, |rates, change| Rates {
            input: change.input.unwrap_or(rates.input),
            output: change.output.unwrap_or(rates.output),
            cached_input: change.cached_input.or(rates.cached_input),
            cache_write: change.cache_write.or(rates.cache_write),
        })
    }

    /// What an answer cost that was asked for at this moment. `None` where a price it needs is not stated, or the
    /// counts it is made of are unknown.
    ///
    /// Audio has prices of its own, which lists do not state: an answer with audio has no known cost.
    pub fn cost(&self, usage: &Usage, moment: Option<Moment>) -> Option<Usd> {
        if [usage.input_audio_tokens, usage.output_audio_tokens].iter().flatten().any(|tokens| *tokens > 0) {
            return None;
        }
        let (input, output) = (usage.input_tokens?, usage.output_tokens?);
        let rates = self.at(moment, input);
        let cached = usage.cached_input_tokens.unwrap_or(0).min(input);
        let written = usage.cache_write_tokens.unwrap_or(0).min(input - cached);
        let part = |tokens: u64, rate: Option<Rate>| if tokens == 0 { Some(Usd::ZERO) } else { Some(rate?.of(tokens)) };
        let sum = rates.input.of(input - cached - written).plus(rates.output.of(output));
        Some(sum.plus(part(cached, rates.cached_input)?).plus(part(written, rates.cache_write)?))
    }

    /// What is wrong with it: the field, what was found, and what was expected.
    pub fn flaw(&self) -> Option<(String, String, &'static str)> {
        let of_change = |(index, change): (usize, &PriceChange)| {
            change.flaw().map(|(found, expected)| (format!("when.{index}"), found.to_owned(), expected))
        };
        let change = self.when.iter().enumerate().find_map(of_change);
        change.or_else(|| {
            let read = self.read.as_ref().filter(|day| !crate::load::is_date(day) && !is_month(day))?;
            Some(("read".to_owned(), format!("{read:?}"), "a day such as 2026-10-24, or a month such as 2026-10"))
        })
    }
}

fn is_month(text: &str) -> bool {
    crate::load::is_date(&format!("{text}-01"))
}

impl<'de> Deserialize<'de> for TimeOfDay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const EXPECTED: &str = "a time of day in UTC such as \"16:30\", in quotes";
        deserializer.deserialize_str(Written { parse: Self::parse, expected: EXPECTED })
    }
}

impl JsonSchema for TimeOfDay {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TimeOfDay".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]{1,2}:[0-9]{2}$", "description": "A time of day, UTC." })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Monday, 2026-11-16, 00:00 UTC.
    const MONDAY: u64 = 1_794_787_200;

    fn prices(yaml: &str) -> Prices {
        serde_saphyr::from_str(yaml).unwrap()
    }

    fn at(day: u64, hours: u64, minutes: u64) -> Moment {
        Moment::from_unix(MONDAY + day * 86_400 + hours * 3_600 + minutes * 60)
    }

    fn input(prices: &Prices, moment: impl Into<Option<Moment>>, tokens: u64) -> String {
        prices.at(moment.into(), tokens).input.to_string()
    }

    #[test]
    fn a_window_past_midnight_belongs_to_the_day_it_began_on() {
        let list = prices(
            "{ input: 2, output: 4, when: [{ from: '16:30', to: '00:30', days: [mon, tue, wed, thu, fri], input: 1 }] }",
        );
        assert_eq!(list.flaw(), None);
        assert_eq!(input(&list, at(0, 16, 29), 10), "$2.00");
        assert_eq!(input(&list, at(0, 16, 30), 10), "$1.00");
        assert_eq!(input(&list, at(1, 0, 29), 10), "$1.00");
        assert_eq!(input(&list, at(1, 0, 30), 10), "$2.00");
        assert_eq!(input(&list, at(0, 0, 10), 10), "$2.00", "Sunday's night");
        assert_eq!(input(&list, at(5, 0, 10), 10), "$1.00", "Friday's night");
        assert_eq!(input(&list, at(5, 17, 0), 10), "$2.00", "Saturday");
        assert_eq!(input(&list, None, 10), "$2.00");
        assert_eq!(list.at(Some(at(0, 20, 0)), 10).output.to_string(), "$4.00", "what is not stated stays");
    }

    #[test]
    fn a_moment_is_read_from_the_calendar() {
        assert_eq!(Moment::parse("1970-01-01T00:00Z"), Some(Moment::from_unix(0)));
        assert_eq!(Moment::parse("2026-11-16 00:01"), Some(Moment::from_unix(MONDAY + 60)));
        assert_eq!(Moment::parse("2024-02-29 12:00"), Some(Moment::from_unix(1_709_208_000)));
        assert_eq!(Moment::parse("2024-03-01 00:00"), Some(Moment::from_unix(1_709_251_200)));
        for wrong in ["", "09:30", "2026-13-01 00:00", "1969-12-31 23:59", "0000-01-01 00:00", "2026-11-16"] {
            assert_eq!(Moment::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_long_prompt_has_its_own_price_from_the_first_token_above() {
        let list = prices("{ input: 1.25, output: 10, when: [{ above: 200000, input: 2.5, output: 15 }] }");
        assert_eq!(input(&list, None, 200_000), "$1.25");
        assert_eq!(input(&list, None, 200_001), "$2.50");
    }

    #[test]
    fn an_answer_costs_the_sum_of_its_parts_and_nothing_is_guessed() {
        let list = prices("{ input: 3, output: 15, cached_input: 0.3 }");
        let usage = Usage {
            input_tokens: Some(1_000),
            cached_input_tokens: Some(400),
            output_tokens: Some(100),
            ..Usage::default()
        };
        assert_eq!(list.cost(&usage, None), Usd::parse("0.00342"));
        assert_eq!(list.cost(&Usage { cache_write_tokens: Some(1), ..usage.clone() }, None), None);
        assert_eq!(list.cost(&Usage { input_audio_tokens: Some(1), ..usage.clone() }, None), None);
        assert_eq!(list.cost(&Usage { output_tokens: None, ..usage.clone() }, None), None);
        let writes = prices("{ input: 3, output: 15, cached_input: 0.3, cache_write: 3.75 }");
        let written = Usage { cache_write_tokens: Some(100), ..usage };
        assert_eq!(writes.cost(&written, None), Usd::parse("0.003495"));
    }

    #[test]
    fn a_change_that_never_or_always_holds_is_a_flaw() {
        for wrong in [
            "{ from: '16:30', input: 1 }",
            "{ from: '16:30', to: '16:30', input: 1 }",
            "{ input: 1 }",
            "{ above: 1 }",
            "{ days: [], input: 1 }",
        ] {
            let list = prices(&format!("{{ input: 1, output: 1, when: [{wrong}] }}"));
            assert_eq!(list.flaw().unwrap().0, "when.0", "{wrong}");
        }
        assert_eq!(prices("{ input: 1, output: 1, read: yesterday }").flaw().unwrap().0, "read");
        assert!(serde_saphyr::from_str::<Prices>("{ input: 1 }").is_err(), "half a list is no list");
        for wrong in ["24:01", "7", "12:60", "1:5", "-1:00"] {
            assert_eq!(TimeOfDay::parse(wrong), None, "{wrong}");
        }
    }
}
