//! An expression as it is written, each part with its place.

use crate::problem::Span;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Name(String),
    /// `on.name`, with the place of the name.
    Field(Box<Node>, String, Span),
    /// `on[key]`.
    Index(Box<Node>, Box<Node>),
    Call(Box<Call>),
    Not(Box<Node>),
    Negate(Box<Node>),
    Binary(Op, Box<Node>, Box<Node>),
    /// `condition ? then : otherwise`.
    Choice(Box<[Node; 3]>),
}

/// `on.name(arguments)`, or `name(arguments)`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call {
    pub(crate) on: Option<Node>,
    pub(crate) name: String,
    pub(crate) name_span: Span,
    pub(crate) arguments: Vec<Node>,
}

/// An operator between two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Op {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Or => "||",
            Self::And => "&&",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::In => "in",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
        }
    }
}
