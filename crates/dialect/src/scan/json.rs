//! A validating reader of JSON (RFC 8259) that builds nothing: it moves over values and says where they are.
//!
//! The text is known to be UTF-8 before it comes here. Escapes are checked for their form alone: half a surrogate pair
//! is grammatical JSON and some clients send it. Nesting is bounded by the bits of the stack of open containers.

use memchr::memchr2;
use std::borrow::Cow;
use std::ops::Range;

/// Containers may be nested one less deep than this, as in `serde_json`, which reads the same bodies later.
pub(crate) const NESTING_LIMIT: u32 = 128;

/// Where the text stops being JSON, and what would have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Broken {
    /// Offset of the byte that does not belong there.
    pub(crate) at: usize,
    /// What was expected.
    pub(crate) expected: &'static str,
}

/// A result of reading.
pub(crate) type Parsed<T> = Result<T, Broken>;

/// A string that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text {
    /// Its bytes as written, without the quotes.
    pub(crate) inside: Range<usize>,
    /// Escapes of two bytes (`\n`).
    pub(crate) short_escapes: usize,
    /// Escapes of six bytes (`\u00e9`).
    pub(crate) unicode_escapes: usize,
}

impl Text {
    /// The string's bytes, quotes included.
    pub(crate) fn quoted(&self) -> Range<usize> {
        self.inside.start - 1..self.inside.end + 1
    }

    fn is_plain(&self) -> bool {
        self.short_escapes + self.unicode_escapes == 0
    }
}

/// A place in a JSON text.
#[derive(Debug)]
pub(crate) struct Cursor<'b> {
    bytes: &'b [u8],
    at: usize,
    depth: u32,
    /// One bit an open container, the innermost lowest; set = object.
    open: u128,
}

impl<'b> Cursor<'b> {
    pub(crate) fn new(bytes: &'b [u8]) -> Self {
        Self { bytes, at: 0, depth: 0, open: 0 }
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn bytes(&self, range: Range<usize>) -> &'b [u8] {
        self.bytes.get(range).unwrap_or_default()
    }

    /// The string's characters; `None` = an escape in it is half a surrogate pair.
    pub(crate) fn characters(&self, text: &Text) -> Option<Cow<'b, [u8]>> {
        if text.is_plain() {
            return Some(Cow::Borrowed(self.bytes(text.inside.clone())));
        }
        let unescaped = serde_json::from_slice::<String>(self.bytes(text.quoted())).ok()?;
        Some(Cow::Owned(unescaped.into_bytes()))
    }

    /// The first byte of the next token; the cursor stands on it. Zero at the end of the text.
    #[inline]
    pub(crate) fn token(&mut self) -> u8 {
        while let Some(&byte) = self.bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return byte;
            }
            self.at += 1;
        }
        0
    }

    /// Nothing but white space may follow.
    pub(crate) fn end(&mut self) -> Parsed<()> {
        self.token();
        if self.at == self.bytes.len() { Ok(()) } else { self.expected("the end of the body") }
    }

    /// Enters the container whose bracket the cursor stands on; whether it holds anything (an empty one is left).
    pub(crate) fn enter(&mut self) -> Parsed<bool> {
        let object = self.token() == b'{';
        if self.depth + 1 >= NESTING_LIMIT {
            return self.expected("less than 128 levels of nesting");
        }
        self.at += 1;
        self.depth += 1;
        self.open = self.open << 1 | u128::from(object);
        if self.token() == (if object { b'}' } else { b']' }) {
            self.leave();
            return Ok(false);
        }
        Ok(true)
    }

    fn leave(&mut self) {
        self.at += 1;
        self.depth -= 1;
        self.open >>= 1;
    }

    /// After a value: steps over the comma, or out of the container. Whether there is another value in it.
    pub(crate) fn another(&mut self) -> Parsed<bool> {
        let object = self.open & 1 == 1;
        match (self.token(), object) {
            (b',', _) => {
                self.at += 1;
                Ok(true)
            }
            (b'}', true) | (b']', false) => {
                self.leave();
                Ok(false)
            }
            (_, true) => self.expected("`,` or `}`"),
            (_, false) => self.expected("`,` or `]`"),
        }
    }

    /// A member's key, and the colon.
    pub(crate) fn key(&mut self) -> Parsed<Text> {
        if self.token() != b'"' {
            return self.expected("a key in double quotes");
        }
        let key = self.string()?;
        if self.token() != b':' {
            return self.expected("`:`");
        }
        self.at += 1;
        Ok(key)
    }

    /// Steps over one value, whatever it is.
    pub(crate) fn skip(&mut self) -> Parsed<()> {
        let outside = self.depth;
        loop {
            match self.token() {
                b'{' => {
                    if self.enter()? {
                        self.key()?;
                        continue;
                    }
                }
                b'[' => {
                    if self.enter()? {
                        continue;
                    }
                }
                _ => self.scalar()?,
            }
            loop {
                if self.depth == outside {
                    return Ok(());
                }
                if self.another()? {
                    break;
                }
            }
            if self.open & 1 == 1 {
                self.key()?;
            }
        }
    }

    fn scalar(&mut self) -> Parsed<()> {
        match self.token() {
            b'"' => self.string().map(drop),
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => self.expected("a value"),
        }
    }

    /// A string; the cursor stands on its opening quote.
    pub(crate) fn string(&mut self) -> Parsed<Text> {
        let start = self.at + 1;
        let mut text = Text { inside: start..start, short_escapes: 0, unicode_escapes: 0 };
        let mut at = start;
        loop {
            at = self.plain_until(at);
            self.at = at;
            match self.bytes.get(at) {
                Some(b'"') => {
                    self.at = at + 1;
                    text.inside.end = at;
                    return Ok(text);
                }
                Some(b'\\') => match self.bytes.get(at + 1) {
                    Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                        text.short_escapes += 1;
                        at += 2;
                    }
                    Some(b'u') if self.is_hex(at + 2..at + 6) => {
                        text.unicode_escapes += 1;
                        at += 6;
                    }
                    _ => return self.expected("an escape that JSON has"),
                },
                Some(_) => return self.expected("control characters in strings to be escaped"),
                None => return self.expected("the string's closing quote"),
            }
        }
    }

    fn is_hex(&self, range: Range<usize>) -> bool {
        self.bytes.get(range).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    }

    /// Where a string stops being plain: at a quote, a backslash or a control character. Most strings are short: two
    /// words are looked at in line before a vector search is worth its call.
    #[inline]
    fn plain_until(&self, start: usize) -> usize {
        let rest = self.bytes.get(start..).unwrap_or_default();
        let (words, _) = rest.as_chunks::<8>();
        let mut seen = 0;
        for word in words.iter().take(2) {
            let hits = special_bytes(u64::from_le_bytes(*word));
            if hits != 0 {
                return start + seen + (hits.trailing_zeros() / 8) as usize;
            }
            seen += 8;
        }
        let rest = rest.get(seen..).unwrap_or_default();
        let length = memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
        let plain = rest.get(..length).unwrap_or_default();
        if plain.iter().fold(u8::MAX, |least, &byte| least.min(byte)) < b' ' {
            return start + seen + plain.iter().position(|&byte| byte < b' ').unwrap_or(length);
        }
        start + seen + length
    }

    fn number(&mut self) -> Parsed<()> {
        if self.byte() == b'-' {
            self.at += 1;
        }
        if self.byte() == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.byte() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.byte(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.byte(), b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Parsed<()> {
        if !self.byte().is_ascii_digit() {
            return self.expected("a digit");
        }
        while self.byte().is_ascii_digit() {
            self.at += 1;
        }
        Ok(())
    }

    fn byte(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    fn word(&mut self, word: &'static [u8]) -> Parsed<()> {
        if !self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
            return self.expected("a value");
        }
        self.at += word.len();
        Ok(())
    }

    fn expected<T>(&self, expected: &'static str) -> Parsed<T> {
        Err(Broken { at: self.at, expected })
    }
}

/// A set high bit in each byte that is a quote, a backslash or a control character; exact up to the lowest such byte.
#[inline]
fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let zeros = |bytes: u64| bytes.wrapping_sub(ONES) & !bytes;
    let controls = word.wrapping_sub(ONES * 0x20) & !word;
    (zeros(word ^ (ONES * 0x22)) | zeros(word ^ (ONES * 0x5c)) | controls) & HIGH
}
