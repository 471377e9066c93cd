//! Reading logs: line by line, and several at once in the order of their time.

use crate::check::Source;
use crate::record::Record;
use std::fmt;
use std::io::BufRead;

/// Longest line that is read; no record is near it.
const LONGEST_LINE: u64 = 1 << 20;

/// A line that is no record, or could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The log's name.
    pub log: String,
    /// The line, from one.
    pub line: u64,
    /// Why.
    pub reason: String,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.log, self.line, self.reason)
    }
}

impl std::error::Error for Unreadable {}

/// Reads several logs as one. Where each log is in the order of its time, the whole is too, so that a checker can
/// forget what is over; where one is not, its records still come, only not in order.
pub struct Merge<'a> {
    logs: Vec<Log<'a>>,
    failed: bool,
}

struct Log<'a> {
    name: String,
    source: Source,
    input: Box<dyn BufRead + 'a>,
    line: u64,
    text: Vec<u8>,
    next: Option<Record>,
    is_begun: bool,
}

impl<'a> Merge<'a> {
    /// Reads these logs, each with the name that errors call it by.
    pub fn new(logs: impl IntoIterator<Item = (String, Box<dyn BufRead + 'a>)>) -> Self {
        let logs = logs.into_iter().zip(0..).map(|((name, input), number)| Log {
            name,
            source: Source(number),
            input,
            line: 0,
            text: Vec::new(),
            next: None,
            is_begun: false,
        });
        Self { logs: logs.collect(), failed: false }
    }

    fn read(&mut self) -> Result<Option<(Source, Record)>, Unreadable> {
        for log in &mut self.logs {
            if !std::mem::replace(&mut log.is_begun, true) {
                log.next = log.read()?;
            }
        }
        let earliest =
            self.logs.iter_mut().filter(|log| log.next.is_some()).min_by_key(|log| log.next.as_ref().map(|it| it.at));
        let Some(log) = earliest else { return Ok(None) };
        let following = log.read()?;
        Ok(std::mem::replace(&mut log.next, following).map(|record| (log.source, record)))
    }
}

/// Ends after the first error.
impl Iterator for Merge<'_> {
    type Item = Result<(Source, Record), Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let read = self.read();
        self.failed = read.is_err();
        read.transpose()
    }
}

impl Log<'_> {
    /// The next record; blank lines are skipped.
    fn read(&mut self) -> Result<Option<Record>, Unreadable> {
        loop {
            self.text.clear();
            self.line += 1;
            let mut bounded = std::io::Read::take(&mut self.input, LONGEST_LINE);
            let count =
                bounded.read_until(b'\n', &mut self.text).map_err(|error| self.unreadable(error.to_string()))?;
            if count == 0 {
                return Ok(None);
            }
            let is_whole = self.text.ends_with(b"\n");
            let text = self.text.trim_ascii();
            if text.is_empty() {
                continue;
            }
            return serde_json::from_slice(text).map(Some).map_err(|error| {
                if count as u64 == LONGEST_LINE {
                    return self.unreadable("the line is longer than 1 MiB: this is no history".to_owned());
                }
                let reason = error.to_string();
                let place = format!(" at line {} column {}", error.line(), error.column());
                let reason = reason.strip_suffix(&place).unwrap_or(&reason);
                let cut = if is_whole { "" } else { " (the last line: it may have been cut off)" };
                self.unreadable(format!("column {}: {reason}{cut}", error.column()))
            });
        }
    }

    fn unreadable(&self, reason: String) -> Unreadable {
        Unreadable { log: self.name.clone(), line: self.line, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merge(logs: &[(&str, &'static str)]) -> Result<Vec<(u16, u64)>, Unreadable> {
        let logs = logs.iter().map(|(name, text)| {
            let input: Box<dyn BufRead> = Box::new(text.as_bytes());
            ((*name).to_owned(), input)
        });
        Merge::new(logs).map(|read| read.map(|(source, record)| (source.0, record.at))).collect()
    }

    #[test]
    fn several_logs_are_read_in_the_order_of_their_time() {
        let (a, b) =
            ("{\"at\":1,\"lost\":0}\n{\"at\":5,\"lost\":0}\n", "{\"at\":2,\"lost\":0}\n\n{\"at\":9,\"lost\":0}");
        assert_eq!(merge(&[("a", a), ("b", b)]).unwrap(), [(0, 1), (1, 2), (0, 5), (1, 9)]);
    }

    #[test]
    fn an_unreadable_line_is_named_with_its_log_its_number_and_its_column() {
        let error = merge(&[("gateway.log", "{\"at\":1,\"lost\":0}\n{\"at\":2,\"lots\":0}\n")]).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("gateway.log:2: column 14: unknown field `lots`"), "{text}");
        let cut = merge(&[("a", "{\"at\":1,\"lo")]).unwrap_err().to_string();
        assert!(cut.contains("a:1:") && cut.ends_with("(the last line: it may have been cut off)"), "{cut}");
    }
}
