//! What the scan looks for in an `anthropic-messages` body.

use super::json::Parsed;
use super::tokens::Medium;
use super::walk::{MediumSeen, Speaker, Walker, whole};

impl Walker<'_> {
    pub(super) fn anthropic_messages(&mut self, key: &[u8]) -> Parsed<()> {
        match key {
            b"messages" => self.elements(|walker, _| walker.block_message()).map(drop),
            b"system" => self.blocks(),
            b"tools" => {
                self.scan.has_tools |= self.json_text()?;
                Ok(())
            }
            b"thinking" => self.thinking(),
            b"output_config" => self.members(|walker, key, _| match key {
                b"format" => walker.response_format(),
                b"effort" => {
                    walker.scan.thinking.effort |= walker.value()?.0 != b"null";
                    Ok(())
                }
                _ => walker.cursor.skip(),
            }),
            b"output_format" => self.response_format(),
            b"max_tokens" => {
                self.scan.max_output_tokens = whole(self.value()?.0);
                Ok(())
            }
            _ => self.cursor.skip(),
        }
    }

    fn thinking(&mut self) -> Parsed<()> {
        self.members(|walker, key, _| {
            if key != b"type" {
                return walker.cursor.skip();
            }
            match &*walker.word()? {
                b"enabled" => walker.scan.thinking.budget = true,
                b"adaptive" => walker.scan.thinking.adaptive = true,
                b"disabled" => walker.scan.thinking.disabled = true,
                _ => {}
            }
            walker.scan.shows_reasoning = walker.scan.thinking.budget || walker.scan.thinking.adaptive;
            Ok(())
        })
    }

    fn block_message(&mut self) -> Parsed<()> {
        self.count_message();
        let results = self.tool_results;
        let (mut is_users, mut content) = (false, None);
        self.members(|walker, key, _| {
            match key {
                b"role" => {
                    let (role, _) = walker.value()?;
                    is_users = role == b"\"user\"";
                    if role == b"\"assistant\"" {
                        walker.speaker = Speaker::Model;
                    }
                }
                b"content" => {
                    let start = walker.cursor.at();
                    walker.blocks()?;
                    content = Some(start..walker.cursor.at());
                }
                _ => walker.cursor.skip()?,
            }
            Ok(())
        })?;
        self.end_turn(is_users, content, results);
        Ok(())
    }

    fn blocks(&mut self) -> Parsed<()> {
        if self.cursor.token() == b'"' {
            return self.text();
        }
        self.elements(|walker, _| walker.block()).map(drop)
    }

    fn block(&mut self) -> Parsed<()> {
        if self.cursor.token() == b'"' {
            return self.text();
        }
        let mut seen = MediumSeen::default();
        self.members(|walker, key, _| {
            match key {
                b"type" => match &*walker.word()? {
                    b"image" => seen.kind = Some(Medium::Image),
                    b"document" => seen.kind = Some(Medium::Document),
                    b"tool_use" => walker.scan.has_tool_history = true,
                    b"tool_result" => {
                        walker.scan.has_tool_history = true;
                        walker.tool_results += 1;
                    }
                    _ => {}
                },
                b"text" | b"thinking" | b"title" | b"context" => walker.text()?,
                b"input" => walker.json_text().map(drop)?,
                b"content" => walker.blocks()?,
                b"source" => walker.source(&mut seen)?,
                _ => walker.cursor.skip()?,
            }
            Ok(())
        })?;
        self.count_medium(&seen);
        Ok(())
    }

    fn source(&mut self, seen: &mut MediumSeen) -> Parsed<()> {
        if self.cursor.token() == b'"' {
            return self.cursor.skip();
        }
        self.members(|walker, key, _| {
            match key {
                b"type" => {
                    let kind = walker.word()?;
                    seen.is_remote = *kind == *b"url";
                    seen.is_text = *kind == *b"text";
                }
                b"data" => seen.data = walker.string()?,
                b"content" => walker.blocks()?,
                _ => walker.cursor.skip()?,
            }
            Ok(())
        })
    }
}
