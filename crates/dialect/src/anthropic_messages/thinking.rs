//! What the caller wants of the model's thinking, as the target's family spells it.
//!
//! Families: *effort* (4.6 and later) takes `output_config.effort` and adaptive thinking; *budget* (3.7–4.5) takes
//! `enabled` with `budget_tokens`, at least 1024 and below `max_tokens`; *always on* cannot be switched off;
//! *unsupported* does not think.

use super::blocks::Context;
use crate::profile::Thinking;
use canon::Effort;
use serde_json::{Value, json};

/// The least budget the API takes.
const LEAST_BUDGET: u64 = 1024;
/// The budget of adaptive thinking on a model that needs a number.
const USUAL_BUDGET: u64 = 8192;
/// The budget of the highest efforts.
const HIGHEST_BUDGET: u64 = 32_000;

/// How thinking is written.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Written {
    /// `thinking`.
    pub(super) config: Option<Value>,
    /// `output_config.effort`.
    pub(super) effort: Option<&'static str>,
    /// The budget of manual thinking; `max_tokens` has to be above it.
    pub(super) budget: Option<u64>,
}

impl Written {
    /// Whether the model is told to think: sampling is restricted then.
    pub(super) fn is_on(&self) -> bool {
        self.config.as_ref().and_then(|config| config.get("type")).is_some_and(|kind| kind != "disabled")
    }
}

/// Writes `ReasoningRequest` for the target's family.
pub(super) fn write(ctx: &mut Context<'_>) -> Written {
    let asked = &ctx.request.reasoning;
    let nothing = asked.effort.is_none() && asked.budget_tokens.is_none() && !asked.adaptive;
    if nothing && asked.show != Some(true) {
        return Written::default();
    }
    match ctx.profile.thinking {
        Thinking::Effort => by_effort(ctx, true),
        Thinking::AlwaysOn => by_effort(ctx, false),
        Thinking::Budget => by_budget(ctx),
        Thinking::Unsupported => {
            if !(is_off(ctx) || nothing) {
                ctx.drops.add(source_field(ctx), "the model does not think");
            }
            Written::default()
        }
    }
}

fn is_off(ctx: &Context<'_>) -> bool {
    let asked = &ctx.request.reasoning;
    asked.effort == Some(Effort::None) || (asked.effort.is_none() && asked.budget_tokens == Some(0))
}

/// The caller's word for it.
fn source_field(ctx: &Context<'_>) -> &'static str {
    let asked = &ctx.request.reasoning;
    match ctx.request.extra_dialect {
        Some(canon::DialectName::Gemini) => "generationConfig.thinkingConfig",
        Some(canon::DialectName::AnthropicMessages) if asked.budget_tokens.is_some() || asked.adaptive => "thinking",
        Some(canon::DialectName::AnthropicMessages) => "output_config.effort",
        Some(canon::DialectName::OpenaiChat) | None => "reasoning_effort",
    }
}

fn with_display(mut config: Value, show: Option<bool>) -> Value {
    if let (Value::Object(map), Some(show)) = (&mut config, show) {
        map.insert("display".to_owned(), if show { "summarized" } else { "omitted" }.into());
    }
    config
}

fn by_effort(ctx: &mut Context<'_>, can_be_off: bool) -> Written {
    let asked = &ctx.request.reasoning;
    if is_off(ctx) {
        if can_be_off {
            return Written { config: Some(json!({ "type": "disabled" })), ..Written::default() };
        }
        ctx.drops.add(source_field(ctx), "the model always thinks: the lowest effort was asked for");
        return Written { effort: Some("low"), ..Written::default() };
    }
    let effort = match (asked.effort, asked.budget_tokens) {
        (Some(effort), _) => Some(effort),
        (None, Some(budget)) if budget > 0 => {
            ctx.drops.add(source_field(ctx), "the model takes an effort, not a budget: the nearest was asked for");
            Some(effort_of(budget))
        }
        (None, _) => None,
    };
    if effort == Some(Effort::Minimal) {
        ctx.drops.add(source_field(ctx), "the lowest effort of the model is low");
    }
    // In this dialect effort and thinking are two wishes; in every other, an effort means to think.
    let think = asked.adaptive || asked.budget_tokens.is_some() || asked.show == Some(true) || !ctx.same_dialect();
    let spell_out = can_be_off || asked.show.is_some() || asked.adaptive;
    Written {
        config: (think && spell_out).then(|| with_display(json!({ "type": "adaptive" }), asked.show)),
        effort: effort.map(effort_word),
        budget: None,
    }
}

fn effort_of(budget: i64) -> Effort {
    match budget {
        ..=2048 => Effort::Low,
        2049..=12_288 => Effort::Medium,
        _ => Effort::High,
    }
}

fn effort_word(effort: Effort) -> &'static str {
    match effort {
        Effort::None | Effort::Minimal | Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High => "high",
        Effort::Xhigh => "xhigh",
        Effort::Max => "max",
    }
}

fn by_budget(ctx: &mut Context<'_>) -> Written {
    let asked = &ctx.request.reasoning;
    if is_off(ctx) {
        // Thinking is off unless asked for; this dialect's own word is kept.
        let config = ctx.same_dialect().then(|| json!({ "type": "disabled" }));
        return Written { config, ..Written::default() };
    }
    if ctx.same_dialect() && !asked.adaptive && asked.budget_tokens.is_none() {
        ctx.drops.add("output_config.effort", "the model takes no effort");
        return Written::default();
    }
    let wanted = match asked.budget_tokens.map(u64::try_from) {
        Some(Ok(budget)) => budget,
        Some(Err(_)) | None => budget_of(asked.effort),
    };
    if asked.adaptive {
        ctx.drops.add("thinking.type", "the model takes a budget, not adaptive thinking");
    }
    if wanted < LEAST_BUDGET {
        ctx.drops.add(source_field(ctx), "the least budget is 1024 tokens");
    }
    let budget = wanted.max(LEAST_BUDGET);
    Written {
        config: Some(with_display(json!({ "type": "enabled", "budget_tokens": budget }), asked.show)),
        effort: None,
        budget: Some(budget),
    }
}

fn budget_of(effort: Option<Effort>) -> u64 {
    match effort {
        None | Some(Effort::Medium) => USUAL_BUDGET,
        Some(Effort::None | Effort::Minimal) => LEAST_BUDGET,
        Some(Effort::Low) => 2048,
        Some(Effort::High) => 16_384,
        Some(Effort::Xhigh | Effort::Max) => HIGHEST_BUDGET,
    }
}

/// Fits `max_tokens` and the budget to each other: the cap is raised above the budget, as far as the model goes, and
/// the budget lowered where that is not enough. Thinking that cannot fit is left out.
pub(super) fn fit_budget(ctx: &mut Context<'_>, written: &mut Written, max_tokens: u64) -> u64 {
    let Some(budget) = written.budget else { return max_tokens };
    if max_tokens > budget {
        return max_tokens;
    }
    let ceiling = ctx.profile.max_output_tokens.unwrap_or(u64::MAX);
    let raised = budget.saturating_add(max_tokens).min(ceiling);
    let lowered = budget.min(raised.saturating_sub(max_tokens.min(raised / 2)));
    if lowered < LEAST_BUDGET || lowered >= raised {
        ctx.drops.add(source_field(ctx), "no budget of at least 1024 tokens fits below the output cap");
        written.config = None;
        written.budget = None;
        return max_tokens;
    }
    if ctx.request.max_output_tokens.is_some() {
        ctx.drops.add("max_tokens", "raised: it has to be above the thinking budget");
    }
    if lowered < budget {
        ctx.drops.add(source_field(ctx), "the thinking budget was lowered to fit below the output cap");
    }
    if let Some(Value::Object(config)) = &mut written.config {
        config.insert("budget_tokens".to_owned(), lowered.into());
    }
    written.budget = Some(lowered);
    raised
}
