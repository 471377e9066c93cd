//! From text to words. Texts are bounded, so that everything after this is.

use crate::problem::{Problem, Span};

/// Longest expression, in bytes: many times what a rule that people can read takes.
pub(crate) const LONGEST: usize = 4096;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Word {
    Name(String),
    Int(i64),
    Float(f64),
    Text(String),
    /// Anything else: `(`, `&&`, `<=`.
    Sign(&'static str),
    End,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Token {
    pub(crate) word: Word,
    pub(crate) span: Span,
}

/// Longer signs first, so that `<=` is not read as `<`.
const SIGNS: [&str; 24] = [
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "?", ":", "(", ")", "[", "]", "{", "}", ",", ".", "+", "-", "*",
    "/", "%",
];

pub(crate) fn tokens(source: &str) -> Result<Vec<Token>, Problem> {
    if source.len() > LONGEST {
        return Err(Problem::new(&(0..source.len()), format!("the expression is longer than {LONGEST} bytes")));
    }
    let mut lexer = Lexer { source, at: 0 };
    let mut tokens = Vec::new();
    loop {
        let token = lexer.next()?;
        let is_end = token.word == Word::End;
        tokens.push(token);
        if is_end {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    source: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        self.source.get(self.at..).unwrap_or_default()
    }

    fn take(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let length = rest.find(|c| !belongs(c)).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    fn next(&mut self) -> Result<Token, Problem> {
        loop {
            self.take(char::is_whitespace);
            if !self.rest().starts_with("//") {
                break;
            }
            self.take(|c| c != '\n');
        }
        let start = self.at;
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return Ok(Token { word: Word::End, span: start..start });
        };
        let word = if first.is_ascii_digit() {
            self.number()?
        } else if first == '"' || first == '\'' {
            Word::Text(self.text(first, false)?)
        } else if rest.starts_with("r\"") || rest.starts_with("r'") {
            self.at += 1;
            Word::Text(self.text(self.rest().chars().next().unwrap_or('"'), true)?)
        } else if first.is_alphabetic() || first == '_' {
            Word::Name(self.take(|c| c.is_alphanumeric() || c == '_').to_owned())
        } else if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            self.at += sign.len();
            Word::Sign(sign)
        } else {
            let span = start..start + first.len_utf8();
            let hint = match first {
                '&' | '|' => format!("`{first}` stands twice in a rule: expected `{first}{first}`"),
                '=' => "`=` assigns nothing here: expected `==`".to_owned(),
                _ => format!("`{}` means nothing in a rule", first.escape_debug()),
            };
            return Err(Problem::new(&span, hint));
        };
        Ok(Token { word, span: start..self.at })
    }

    fn number(&mut self) -> Result<Word, Problem> {
        let start = self.at;
        self.take(|c| c.is_ascii_digit());
        let fraction = self.rest().strip_prefix('.').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        if fraction {
            self.at += 1;
            self.take(|c| c.is_ascii_digit());
        }
        let tail = self.take(|c| c.is_alphanumeric() || c == '_');
        let span = start..self.at;
        let digits = self.source.get(span.clone()).unwrap_or_default();
        if !tail.is_empty() {
            return Err(Problem::new(
                &span,
                format!("`{digits}` is no number here: expected digits, with a fraction or without"),
            ));
        }
        if fraction {
            let number = digits.parse().map_err(|_| Problem::new(&span, format!("`{digits}` is no number")))?;
            return Ok(Word::Float(number));
        }
        let number = digits
            .parse()
            .map_err(|_| Problem::new(&span, format!("`{digits}` is too large: expected at most {}", i64::MAX)))?;
        Ok(Word::Int(number))
    }

    /// A text between quotes, which stand at the lexer's place.
    fn text(&mut self, quote: char, raw: bool) -> Result<String, Problem> {
        let start = self.at;
        self.at += quote.len_utf8();
        let mut text = String::new();
        let mut chars = self.rest().char_indices();
        while let Some((offset, c)) = chars.next() {
            if c == quote {
                self.at += offset + c.len_utf8();
                return Ok(text);
            }
            if c != '\\' || raw {
                text.push(c);
                continue;
            }
            let at = self.at + offset;
            match chars.next() {
                Some((_, escaped @ ('\\' | '\'' | '"' | '`' | '?'))) => text.push(escaped),
                Some((_, 'n')) => text.push('\n'),
                Some((_, 't')) => text.push('\t'),
                Some((_, 'r')) => text.push('\r'),
                Some((_, other)) => {
                    return Err(Problem::new(
                        &(at..at + 1 + other.len_utf8()),
                        format!("`\\{other}` is no escape: expected \\\\, \\\", \\', \\n, \\t or \\r"),
                    ));
                }
                None => break,
            }
        }
        Err(Problem::new(&(start..self.source.len()), format!("the text has no end: expected a closing {quote}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str) -> Vec<Word> {
        tokens(source).unwrap().into_iter().map(|token| token.word).collect()
    }

    #[test]
    fn every_kind_of_word_is_read() {
        assert_eq!(
            words("a.b1 <= 10 && x != 'it\\'s' // why\n || r\"\\d\" > 0.25"),
            [
                Word::Name("a".into()),
                Word::Sign("."),
                Word::Name("b1".into()),
                Word::Sign("<="),
                Word::Int(10),
                Word::Sign("&&"),
                Word::Name("x".into()),
                Word::Sign("!="),
                Word::Text("it's".into()),
                Word::Sign("||"),
                Word::Text("\\d".into()),
                Word::Sign(">"),
                Word::Float(0.25),
                Word::End,
            ]
        );
    }

    #[test]
    fn what_is_no_word_is_pointed_at() {
        for (source, span, says) in [
            ("a & b", 2..3, "expected `&&`"),
            ("a = b", 2..3, "expected `==`"),
            ("a # b", 2..3, "means nothing"),
            ("'abc", 0..4, "closing '"),
            ("'a\\qb'", 2..4, "no escape"),
            ("1.5s", 0..4, "no number"),
            ("10u", 0..3, "no number"),
            ("99999999999999999999", 0..20, "too large"),
        ] {
            let problem = tokens(source).unwrap_err();
            assert_eq!(problem.span, span, "{source}: {}", problem.message);
            assert!(problem.message.contains(says), "{source}: {}", problem.message);
        }
    }

    #[test]
    fn an_endless_text_is_refused() {
        assert!(tokens(&"1 ".repeat(LONGEST)).unwrap_err().message.contains("longer than"));
    }
}
