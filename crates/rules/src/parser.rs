//! From words to an expression, by recursive descent. Depth and size are bounded, so that no text can exhaust the
//! stack or the time of a request.

use crate::ast::{Call, Kind, Node, Op};
use crate::lexer::{self, Token, Word};
use crate::problem::{Problem, Span};

/// Deepest nesting of parentheses, calls and negations.
const DEEPEST: usize = 32;
/// Most parts of an expression: every one is looked at once per request at most.
pub(crate) const LARGEST: usize = 256;

/// Operators by how tightly they bind, loosest first; `? :` binds looser than all of them.
const LEVELS: [&[(&str, Op)]; 5] = [
    &[("||", Op::Or)],
    &[("&&", Op::And)],
    &[
        ("==", Op::Equal),
        ("!=", Op::NotEqual),
        ("<=", Op::LessOrEqual),
        (">=", Op::GreaterOrEqual),
        ("<", Op::Less),
        (">", Op::Greater),
        ("in", Op::In),
    ],
    &[("+", Op::Add), ("-", Op::Subtract)],
    &[("*", Op::Multiply), ("/", Op::Divide), ("%", Op::Remainder)],
];

pub(crate) fn parse(source: &str) -> Result<Node, Problem> {
    let tokens = lexer::tokens(source)?;
    let mut parser = Parser { tokens, at: 0, depth: 0, size: 0 };
    let node = parser.choice()?;
    let rest = parser.peek();
    match rest.word {
        Word::End => Ok(node),
        _ => Err(Problem::new(
            &rest.span,
            format!("expected an operator such as `&&` or the end, found {}", shown(&rest.word)),
        )),
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    size: usize,
}

impl Parser {
    fn peek(&self) -> Token {
        let end = || Token { word: Word::End, span: 0..0 };
        self.tokens.get(self.at).or_else(|| self.tokens.last()).cloned().unwrap_or_else(end)
    }

    fn take(&mut self) -> Token {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn skip(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek().word, Word::Sign(it) if it == sign);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &'static str) -> Result<Span, Problem> {
        let token = self.take();
        match token.word {
            Word::Sign(found) if found == sign => Ok(token.span),
            other => Err(Problem::new(&token.span, format!("expected `{sign}`, found {}", shown(&other)))),
        }
    }

    fn node(&mut self, kind: Kind, span: Span) -> Result<Node, Problem> {
        self.size += 1;
        if self.size > LARGEST {
            return Err(Problem::new(&span, format!("the expression has more than {LARGEST} parts: split the rule")));
        }
        Ok(Node { kind, span })
    }

    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T, Problem>) -> Result<T, Problem> {
        self.depth += 1;
        if self.depth > DEEPEST {
            let span = self.peek().span;
            return Err(Problem::new(&span, format!("nested more than {DEEPEST} deep")));
        }
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn choice(&mut self) -> Result<Node, Problem> {
        let condition = self.binary(0)?;
        if !self.skip("?") {
            return Ok(condition);
        }
        self.deeper(|parser| {
            let then = parser.choice()?;
            parser.expect(":")?;
            let otherwise = parser.choice()?;
            let span = condition.span.start..otherwise.span.end;
            parser.node(Kind::Choice(Box::new([condition, then, otherwise])), span)
        })
    }

    fn binary(&mut self, level: usize) -> Result<Node, Problem> {
        let Some(operators) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.binary(level + 1)?;
        loop {
            let token = self.peek();
            let sign = match &token.word {
                Word::Sign(sign) => *sign,
                Word::Name(name) if name == "in" => "in",
                _ => return Ok(left),
            };
            let Some((_, op)) = operators.iter().find(|(it, _)| *it == sign) else { return Ok(left) };
            self.at += 1;
            let right = self.binary(level + 1)?;
            let span = left.span.start..right.span.end;
            left = self.node(Kind::Binary(*op, Box::new(left), Box::new(right)), span)?;
        }
    }

    fn unary(&mut self) -> Result<Node, Problem> {
        let start = self.peek().span.start;
        let kind: fn(Box<Node>) -> Kind = if self.skip("!") {
            Kind::Not
        } else if self.skip("-") {
            Kind::Negate
        } else {
            return self.member();
        };
        let inner = self.deeper(Self::unary)?;
        let span = start..inner.span.end;
        self.node(kind(Box::new(inner)), span)
    }

    fn member(&mut self) -> Result<Node, Problem> {
        let mut node = self.primary()?;
        loop {
            if self.skip(".") {
                let token = self.take();
                let Word::Name(name) = token.word else {
                    return Err(Problem::new(&token.span, format!("expected a name, found {}", shown(&token.word))));
                };
                node = if self.skip("(") {
                    self.call(Some(node), name, token.span)?
                } else {
                    let span = node.span.start..token.span.end;
                    self.node(Kind::Field(Box::new(node), name, token.span), span)?
                };
            } else if self.skip("[") {
                let key = self.deeper(Self::choice)?;
                let end = self.expect("]")?.end;
                let span = node.span.start..end;
                node = self.node(Kind::Index(Box::new(node), Box::new(key)), span)?;
            } else {
                return Ok(node);
            }
        }
    }

    fn primary(&mut self) -> Result<Node, Problem> {
        let token = self.take();
        let span = token.span.clone();
        match token.word {
            Word::Int(number) => self.node(Kind::Int(number), span),
            Word::Float(number) => self.node(Kind::Float(number), span),
            Word::Text(text) => self.node(Kind::Text(text), span),
            Word::Name(name) if name == "true" => self.node(Kind::Bool(true), span),
            Word::Name(name) if name == "false" => self.node(Kind::Bool(false), span),
            Word::Name(name) if name == "null" => {
                Err(Problem::new(&span, "there is no `null`: `has(…)` says whether something is known"))
            }
            Word::Name(name) if name != "in" => {
                if self.skip("(") {
                    self.call(None, name, span)
                } else {
                    self.node(Kind::Name(name), span)
                }
            }
            Word::Sign("(") => {
                let inner = self.deeper(Self::choice)?;
                let end = self.expect(")")?.end;
                Ok(Node { span: span.start..end, ..inner })
            }
            Word::Sign("[") => {
                let items = self.arguments("]")?;
                let end = self.tokens.get(self.at.saturating_sub(1)).map_or(span.end, |token| token.span.end);
                self.node(Kind::List(items), span.start..end)
            }
            Word::Sign("{") => Err(Problem::new(&span, "maps and messages cannot be made in a rule")),
            other => Err(Problem::new(&span, format!("expected a value, found {}", shown(&other)))),
        }
    }

    fn call(&mut self, on: Option<Node>, name: String, name_span: Span) -> Result<Node, Problem> {
        let start = on.as_ref().map_or(name_span.start, |on| on.span.start);
        let arguments = self.arguments(")")?;
        let end = self.tokens.get(self.at.saturating_sub(1)).map_or(name_span.end, |token| token.span.end);
        self.node(Kind::Call(Box::new(Call { on, name, name_span, arguments })), start..end)
    }

    /// Values between commas, up to and with the closing sign.
    fn arguments(&mut self, close: &'static str) -> Result<Vec<Node>, Problem> {
        let mut arguments = Vec::new();
        if self.skip(close) {
            return Ok(arguments);
        }
        loop {
            arguments.push(self.deeper(Self::choice)?);
            if !self.skip(",") {
                self.expect(close)?;
                return Ok(arguments);
            }
        }
    }
}

fn shown(word: &Word) -> String {
    match word {
        Word::Name(name) => format!("`{name}`"),
        Word::Int(number) => format!("`{number}`"),
        Word::Float(number) => format!("`{number}`"),
        Word::Text(_) => "a text".to_owned(),
        Word::Sign(sign) => format!("`{sign}`"),
        Word::End => "the end".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fully parenthesised.
    fn plain(node: &Node) -> String {
        match &node.kind {
            Kind::Bool(it) => it.to_string(),
            Kind::Int(it) => it.to_string(),
            Kind::Float(it) => it.to_string(),
            Kind::Text(it) => format!("'{it}'"),
            Kind::List(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(",")),
            Kind::Name(name) => name.clone(),
            Kind::Field(on, name, _) => format!("{}.{name}", plain(on)),
            Kind::Index(on, key) => format!("{}[{}]", plain(on), plain(key)),
            Kind::Call(call) => {
                let on = call.on.as_ref().map(|on| plain(on) + ".").unwrap_or_default();
                format!("{on}{}({})", call.name, call.arguments.iter().map(plain).collect::<Vec<_>>().join(","))
            }
            Kind::Not(it) => format!("!{}", plain(it)),
            Kind::Negate(it) => format!("-{}", plain(it)),
            Kind::Binary(op, left, right) => format!("({} {} {})", plain(left), op.as_str(), plain(right)),
            Kind::Choice(parts) => {
                let [condition, then, otherwise] = &**parts;
                format!("({} ? {} : {})", plain(condition), plain(then), plain(otherwise))
            }
        }
    }

    #[test]
    fn operators_bind_as_in_cel() {
        for (source, expected) in [
            ("a || b && c", "(a || (b && c))"),
            ("a && b || c", "((a && b) || c)"),
            ("a + b * c - d", "((a + (b * c)) - d)"),
            ("a < b + 1 && !c.d", "((a < (b + 1)) && !c.d)"),
            ("a ? b : c ? d : e", "(a ? b : (c ? d : e))"),
            ("(a || b) && c", "((a || b) && c)"),
            ("-a.b == -1", "(-a.b == -1)"),
            ("'x' in a.b || f(1, g('y')).h", "(('x' in a.b) || f(1,g('y')).h)"),
            ("a['k'].startsWith(\"q\")", "a['k'].startsWith('q')"),
            ("a in [1, 2]", "(a in [1,2])"),
        ] {
            assert_eq!(plain(&parse(source).unwrap()), expected, "{source}");
        }
    }

    #[test]
    fn a_part_knows_its_place() {
        let source = "a && rate('x')";
        let node = parse(source).unwrap();
        assert_eq!(node.span, 0..source.len());
        let Kind::Binary(_, _, right) = &node.kind else { panic!() };
        assert_eq!(source.get(right.span.clone()), Some("rate('x')"));
    }

    #[test]
    fn what_is_not_grammar_is_pointed_at() {
        for (source, at, says) in [
            ("", 0, "expected a value, found the end"),
            ("a &&", 4, "expected a value, found the end"),
            ("a b", 2, "expected an operator"),
            ("(a", 2, "expected `)`, found the end"),
            ("f(a", 3, "expected `)`"),
            ("a.", 2, "expected a name"),
            ("a ? b", 5, "expected `:`"),
            ("null", 0, "no `null`"),
            ("{1: 2}", 0, "cannot be made"),
            ("in", 0, "expected a value"),
            ("a..b", 2, "expected a name, found `.`"),
        ] {
            let problem = parse(source).unwrap_err();
            assert_eq!(problem.span.start, at, "{source}: {}", problem.message);
            assert!(problem.message.contains(says), "{source}: {}", problem.message);
        }
    }

    #[test]
    fn depth_and_size_are_bounded() {
        let deep = "(".repeat(1000) + "a" + &")".repeat(1000);
        assert!(parse(&deep).unwrap_err().message.contains("deep"));
        assert!(parse(&"!".repeat(1000)).unwrap_err().message.contains("deep"));
        let wide = "a || ".repeat(400) + "a";
        assert!(parse(&wide).unwrap_err().message.contains("parts"));
    }
}
