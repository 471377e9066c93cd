//! Prompts of which it is known whether a strong and a weak model answered them: the evaluation data of `RouteLLM`
//! (github.com/lm-sys/RouteLLM, Apache-2.0), read from where they are kept and never copied.

use std::collections::HashSet;
use std::error::Error;
use std::path::{Path, PathBuf};

const WEAK: &str = "mistralai/Mixtral-8x7B-Instruct-v0.1";
const STRONG: &str = "gpt-4-1106-preview";

/// One prompt.
#[derive(Debug, Clone)]
pub(crate) struct Labelled {
    pub(crate) prompt: String,
    pub(crate) weak: bool,
    pub(crate) strong: bool,
}

/// The folder; `None` when it is not there.
pub(crate) fn folder() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "where the data are is the caller's to say")]
    let named = std::env::var("MAINSTAY_ROUTING_DATA").ok().map(PathBuf::from);
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/routing-data");
    Some(named.unwrap_or_else(beside)).filter(|folder| folder.is_dir())
}

/// 1,319 problems of primary-school mathematics, less those known from training sets.
pub(crate) fn gsm8k(folder: &Path) -> Result<Vec<Labelled>, Box<dyn Error>> {
    let mut prompts = read(&folder.join("gsm8k_responses.csv"))?;
    leave_out(&mut prompts, &folder.join("gsm8k_contaminated.jsonl"))?;
    Ok(prompts)
}

/// 14,042 questions of 57 subjects with four answers each, less those known from training sets.
pub(crate) fn mmlu(folder: &Path) -> Result<Vec<Labelled>, Box<dyn Error>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder.join("mmlu"))? {
        files.push(entry?.path());
    }
    files.sort();
    let mut prompts = Vec::new();
    for file in files {
        prompts.extend(read(&file)?);
    }
    leave_out(&mut prompts, &folder.join("mmlu_contaminated.jsonl"))?;
    Ok(prompts)
}

fn read(file: &Path) -> Result<Vec<Labelled>, Box<dyn Error>> {
    let mut reader = csv::Reader::from_path(file)?;
    let headers = reader.headers()?.clone();
    let column = |name: &str| {
        headers.iter().position(|header| header == name).ok_or_else(|| format!("{}: no `{name}`", file.display()))
    };
    let (prompt, weak, strong) = (column("prompt")?, column(WEAK)?, column(STRONG)?);
    let mut prompts = Vec::new();
    for record in reader.records() {
        let record = record?;
        let answered = |column: usize| match record.get(column) {
            Some("True") => Ok(true),
            Some("False") => Ok(false),
            other => Err(format!("{}: {other:?} is neither True nor False", file.display())),
        };
        let text = record.get(prompt).unwrap_or_default().to_owned();
        prompts.push(Labelled { prompt: text, weak: answered(weak)?, strong: answered(strong)? });
    }
    Ok(prompts)
}

fn leave_out(prompts: &mut Vec<Labelled>, file: &Path) -> Result<(), Box<dyn Error>> {
    let mut known = HashSet::new();
    for line in std::fs::read_to_string(file)?.lines() {
        let pair: serde_json::Value = serde_json::from_str(line)?;
        known.extend(pair.get("eval_prompt").and_then(serde_json::Value::as_str).map(str::to_owned));
    }
    prompts.retain(|labelled| !known.contains(&labelled.prompt));
    Ok(())
}
