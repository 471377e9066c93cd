//! A target's patch: what its requests are changed by, and nobody else's.
//!
//! A patch is written into a body of the target's own dialect, by byte range: the caller's bytes as they are where the
//! dialect is the same, the encoder's where the request was translated. It is made anew for every attempt and never
//! becomes part of the request, so whatever another target is sent knows nothing of it. The target's profile comes
//! after it ([`super::splice`]): what the provider does not take is left out of a patch as it is of a request.

mod parameters;
mod prompt;
mod turns;

use super::edits::{Edits, Members};
use crate::scan::{Field, Scan};
use bytes::Bytes;
use canon::{DialectName, Drops};
pub use parameters::{Bounds, Parameter};
pub use prompt::{Example, PromptPatch};

/// Bytes of text a token, for what a patch adds to a prompt.
const BYTES_PER_TOKEN: u64 = 4;

/// What a body does not say of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Origin {
    /// The caller itself capped the output; a cap in the body is an encoder's otherwise.
    pub states_cap: bool,
    /// The request goes on with an answer that was begun.
    pub goes_on: bool,
}

/// What the requests of one target are changed by.
#[derive(Debug, Clone, PartialEq)]
pub struct Patch {
    prompt: PromptPatch,
    parameters: Vec<Parameter>,
    tokens: u64,
}

impl Patch {
    /// `None` = it would change nothing.
    pub fn new(prompt: PromptPatch, parameters: Vec<Parameter>) -> Option<Self> {
        let is_empty = prompt == PromptPatch::default() && parameters.is_empty();
        let tokens = prompt.bytes().div_ceil(BYTES_PER_TOKEN);
        (!is_empty).then_some(Self { prompt, parameters, tokens })
    }

    /// Writes it into a body of the target's dialect. What the caller stated and is changed goes to `drops`.
    pub fn apply(&self, dialect: DialectName, body: &Bytes, scan: &Scan, origin: Origin, drops: &mut Drops) -> Bytes {
        let Origin { states_cap, goes_on } = origin;
        let mut edits = Edits::default();
        let mut top = Object::top(body, &scan.fields);
        if dialect == DialectName::Gemini {
            let mut config = Config::find(body, scan);
            for parameter in &self.parameters {
                let object = if parameter.is_nested() { &mut config.object } else { &mut top };
                parameter.apply(object, states_cap, drops);
            }
            config.write(&mut top, &mut edits);
        } else {
            self.parameters.iter().for_each(|parameter| parameter.apply(&mut top, states_cap, drops));
        }
        self.prompt.apply(dialect, goes_on, &mut top, &mut edits);
        top.write(&mut edits);
        edits.apply(body)
    }

    /// The part of it that may decide whether a request is served at all, whatever is asked; `None` = there is none.
    pub fn of_service(&self) -> Option<Self> {
        let parameters = self.parameters.iter().filter(|parameter| parameter.is_of_service()).cloned().collect();
        Self::new(PromptPatch::default(), parameters)
    }

    /// Tokens it adds to a prompt, an estimate.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// The cap on the output that is sent, for one that was asked for.
    pub fn output_cap(&self, asked: Option<u64>) -> Option<u64> {
        self.parameters.iter().find(|parameter| parameter.caps_output()).map_or(asked, |cap| cap.capped(asked))
    }

    /// What it changes, as the configuration names it: `prompt.append_system`, `parameters.temperature`. No contents.
    pub fn names(&self) -> Vec<String> {
        let parameters = self.parameters.iter().map(|parameter| format!("parameters.{}", parameter.name()));
        self.prompt.names().map(|name| format!("prompt.{name}")).chain(parameters).collect()
    }

    /// What it changes, in words, a line each; of long texts the beginning.
    pub fn describe(&self) -> Vec<String> {
        self.prompt.describe().into_iter().chain(self.parameters.iter().map(Parameter::describe)).collect()
    }

    /// A text that is equal for equal patches alone.
    pub fn identity(&self) -> String {
        format!("{:?} {:?}", self.prompt, self.parameters)
    }
}

/// An object of a body: its members, and those that are written into it.
pub(super) struct Object<'a> {
    body: &'a [u8],
    members: Members<'a>,
    fields: &'a [Field],
    /// Behind its opening bracket.
    open: usize,
    added: Vec<String>,
}

impl<'a> Object<'a> {
    fn top(body: &'a [u8], fields: &'a [Field]) -> Self {
        let open = body.iter().position(|byte| *byte == b'{').map_or(0, |at| at + 1);
        Self { body, members: Members::new(body, fields, ""), fields, open, added: Vec::new() }
    }

    fn add(&mut self, key: &str, value: &str) {
        self.added.push(format!("{}:{value}", quoted(key)));
    }

    /// Where the value of a member stands.
    fn place(&self, keys: &[&str]) -> Option<&'a Field> {
        self.fields.iter().find(|field| keys.contains(&&*field.key))
    }

    fn write(self, edits: &mut Edits) {
        if !self.added.is_empty() {
            let comma = if self.members.is_empty() { "" } else { "," };
            edits.replace(self.open..self.open, self.added.join(",") + comma);
        }
        self.members.write(edits);
    }
}

/// Gemini's `generationConfig`, which may not be there yet.
struct Config<'a> {
    object: Object<'a>,
    /// What stands in its place is no object (null, that is).
    instead: Option<&'a Field>,
    is_there: bool,
}

const CONFIG: [&str; 2] = ["generationConfig", "generation_config"];

impl<'a> Config<'a> {
    fn find(body: &'a [u8], scan: &'a Scan) -> Self {
        let field = scan.fields.iter().find(|field| CONFIG.contains(&&*field.key));
        let is_object = |field: &&Field| body.get(field.value_range.start) == Some(&b'{');
        let there = field.filter(is_object);
        let fields: &[Field] = if there.is_some() { &scan.places.config_fields } else { &[] };
        let open = there.map_or(0, |field| field.value_range.start + 1);
        let members = Members::new(body, fields, "generationConfig.");
        let object = Object { body, members, fields, open, added: Vec::new() };
        Self { object, instead: field.filter(|field| !is_object(field)), is_there: there.is_some() }
    }

    fn write(self, top: &mut Object<'_>, edits: &mut Edits) {
        if self.is_there {
            self.object.write(edits);
        } else if !self.object.added.is_empty() {
            let whole = format!("{{{}}}", self.object.added.join(","));
            match self.instead {
                Some(null) => edits.replace(null.value_range.clone(), whole),
                None => top.add("generationConfig", &whole),
            }
        }
    }
}

/// A text as JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
