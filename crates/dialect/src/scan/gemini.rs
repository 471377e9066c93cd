//! What the scan looks for in a `gemini` body. Google takes every key in camel case and in snake case.

use super::Field;
use super::json::Parsed;
use super::tokens::Medium;
use super::walk::{MediumSeen, Speaker, Walker, whole};
use std::borrow::Cow;
use std::ops::Range;

impl Walker<'_> {
    pub(super) fn gemini(&mut self, key: &[u8]) -> Parsed<()> {
        match key {
            b"contents" => self.elements(|walker, _| walker.content()).map(drop),
            b"systemInstruction" | b"system_instruction" => {
                self.turn()?;
                // Whatever role it states, it is no turn of the history.
                self.speaker = Speaker::Caller;
                Ok(())
            }
            b"tools" => {
                self.scan.has_tools |= self.json_text()?;
                Ok(())
            }
            b"generationConfig" | b"generation_config" => self.generation_config(),
            _ => self.cursor.skip(),
        }
    }

    fn generation_config(&mut self) -> Parsed<()> {
        // Both spellings at once are one field twice; which one counts would be for the provider to choose.
        self.config_seen += 1;
        if self.config_seen > 1 {
            return self.cursor.skip();
        }
        self.members(|walker, key, key_text| {
            let start = walker.cursor.at();
            walker.generation_config_member(key)?;
            let key = Cow::Owned(String::from_utf8_lossy(key).into_owned());
            let value_range = start..walker.cursor.at();
            walker.scan.places.config_fields.push(Field { key, key_range: key_text.quoted(), value_range });
            Ok(())
        })
    }

    fn generation_config_member(&mut self, key: &[u8]) -> Parsed<()> {
        match key {
            b"candidateCount" | b"candidate_count" => {
                self.scan.n = whole(self.value()?.0).and_then(|n| n.try_into().ok()).unwrap_or(1);
            }
            b"maxOutputTokens" | b"max_output_tokens" => self.scan.max_output_tokens = whole(self.value()?.0),
            b"responseSchema" | b"response_schema" | b"responseJsonSchema" | b"response_json_schema" => {
                let start = self.cursor.token();
                self.json_text()?;
                self.scan.has_json_schema |= start != b'n';
            }
            b"thinkingConfig" | b"thinking_config" => self.members(|walker, key, _| {
                let (value, _) = walker.value()?;
                match key {
                    b"includeThoughts" | b"include_thoughts" => walker.scan.shows_reasoning = value == b"true",
                    b"thinkingBudget" | b"thinking_budget" => walker.scan.thinking.budget |= value != b"null",
                    b"thinkingLevel" | b"thinking_level" => walker.scan.thinking.effort |= value != b"null",
                    _ => {}
                }
                Ok(())
            })?,
            _ => self.cursor.skip()?,
        }
        Ok(())
    }

    fn content(&mut self) -> Parsed<()> {
        let results = self.tool_results;
        let (is_users, parts) = self.turn()?;
        self.end_turn(is_users, parts, results);
        Ok(())
    }

    /// Whether the turn is the user's (whose role may be left out), and its parts.
    fn turn(&mut self) -> Parsed<(bool, Option<Range<usize>>)> {
        self.count_message();
        let start = self.cursor.at();
        if self.cursor.token() == b'"' {
            self.text()?;
            return Ok((true, Some(start..self.cursor.at())));
        }
        let (mut is_users, mut parts) = (true, None);
        self.members(|walker, key, _| {
            match key {
                b"role" => {
                    let (role, _) = walker.value()?;
                    is_users = role == b"\"user\"";
                    if role == b"\"model\"" {
                        walker.speaker = Speaker::Model;
                    }
                }
                b"parts" => {
                    let start = walker.cursor.at();
                    walker.elements(|walker, _| walker.part())?;
                    parts = Some(start..walker.cursor.at());
                }
                _ => walker.cursor.skip()?,
            }
            Ok(())
        })?;
        Ok((is_users, parts))
    }

    fn part(&mut self) -> Parsed<()> {
        if self.cursor.token() == b'"' {
            return self.text();
        }
        self.members(|walker, key, _| match key {
            b"text" => walker.text(),
            b"inlineData" | b"inline_data" | b"fileData" | b"file_data" => walker.media(),
            b"functionCall" | b"function_call" => {
                walker.scan.has_tool_history = true;
                walker.json_text().map(drop)
            }
            b"functionResponse" | b"function_response" => {
                walker.scan.has_tool_history = true;
                walker.tool_results += 1;
                walker.function_response()
            }
            b"executableCode" | b"executable_code" | b"codeExecutionResult" | b"code_execution_result" => {
                walker.json_text().map(drop)
            }
            _ => walker.cursor.skip(),
        })
    }

    fn function_response(&mut self) -> Parsed<()> {
        self.members(|walker, key, _| match key {
            b"parts" => walker.elements(|walker, _| walker.part()).map(drop),
            b"response" => walker.json_text().map(drop),
            _ => walker.cursor.skip(),
        })
    }

    fn media(&mut self) -> Parsed<()> {
        let mut seen = MediumSeen { kind: Some(Medium::Document), ..MediumSeen::default() };
        self.members(|walker, key, _| {
            match key {
                b"mimeType" | b"mime_type" => {
                    let kind = walker.word()?;
                    seen.kind = Some(match kind.split(|byte| *byte == b'/').next() {
                        Some(b"image") => Medium::Image,
                        Some(b"video") => Medium::Video,
                        Some(b"audio") => Medium::Audio,
                        _ => Medium::Document,
                    });
                }
                b"data" => seen.data = walker.string()?,
                b"fileUri" | b"file_uri" => {
                    seen.is_remote = true;
                    walker.cursor.skip()?;
                }
                _ => walker.cursor.skip()?,
            }
            Ok(())
        })?;
        self.count_medium(&seen);
        Ok(())
    }
}
