//! What the scan looks for in an `openai-chat` body.

use super::json::{Parsed, Text};
use super::tokens::Medium;
use super::walk::{MediumSeen, Speaker, Walker, whole};
use super::{Field, MessageMember, StreamOptions, ToolTurn};
use std::borrow::Cow;

impl Walker<'_> {
    pub(super) fn openai_chat(&mut self, key: &[u8]) -> Parsed<()> {
        // Providers of this dialect show reasoning unasked, and it is passed through.
        self.scan.shows_reasoning = true;
        match key {
            b"messages" => self.elements(Self::chat_message).map(drop),
            b"tools" | b"functions" => {
                self.scan.has_tools |= self.json_text()?;
                Ok(())
            }
            b"response_format" => self.response_format(),
            b"stream_options" => self.stream_options(),
            b"n" => {
                self.scan.n = whole(self.value()?.0).and_then(|n| n.try_into().ok()).unwrap_or(1);
                Ok(())
            }
            b"max_completion_tokens" => {
                self.scan.max_output_tokens = whole(self.value()?.0).or(self.scan.max_output_tokens);
                Ok(())
            }
            b"max_tokens" => {
                let cap = whole(self.value()?.0);
                self.scan.max_output_tokens = self.scan.max_output_tokens.or(cap);
                Ok(())
            }
            _ => self.cursor.skip(),
        }
    }

    /// `response_format`, and Anthropic's `output_config.format`.
    pub(super) fn response_format(&mut self) -> Parsed<()> {
        self.members(|walker, key, _| match key {
            b"type" => {
                walker.scan.has_json_schema |= *walker.word()? == *b"json_schema";
                Ok(())
            }
            b"json_schema" | b"schema" => walker.json_text().map(drop),
            _ => walker.cursor.skip(),
        })
    }

    fn stream_options(&mut self) -> Parsed<()> {
        if self.cursor.token() != b'{' {
            return self.cursor.skip();
        }
        let mut options = StreamOptions { is_empty: true, ..StreamOptions::default() };
        self.members(|walker, key, _| {
            options.is_empty = false;
            let (value, range) = walker.value()?;
            if key == b"include_usage" {
                walker.scan.stream_usage = value == b"true";
                options.include_usage.push(range);
            }
            Ok(())
        })?;
        self.scan.places.stream_options = Some(options);
        Ok(())
    }

    fn chat_message(&mut self, message: usize) -> Parsed<()> {
        self.count_message();
        let first_noted = self.scan.places.members.len();
        let mut position = 0;
        let mut previous_end = None;
        let (mut is_users, mut content) = (false, None);
        self.members(|walker, key, key_text| {
            if let Some(last) = walker.scan.places.members.get_mut(first_noted..).and_then(<[_]>::last_mut)
                && last.position + 1 == position
            {
                last.next_start = Some(key_text.quoted().start);
            }
            let start = walker.cursor.at();
            walker.chat_message_member(message, key)?;
            let value_range = start..walker.cursor.at();
            match key {
                b"role" => is_users = walker.cursor.bytes(value_range.clone()) == b"\"user\"",
                b"content" => content = Some(value_range.clone()),
                _ => {}
            }
            if let Some(key) = noted(key) {
                let field = Field { key: Cow::Borrowed(key), key_range: key_text.quoted(), value_range };
                let member = MessageMember { message, position, field, previous_end, next_start: None };
                walker.scan.places.members.push(member);
            }
            previous_end = Some(walker.cursor.at());
            position += 1;
            Ok(())
        })?;
        self.end_turn(is_users, content, self.tool_results);
        Ok(())
    }

    fn chat_message_member(&mut self, message: usize, key: &[u8]) -> Parsed<()> {
        match key {
            b"role" => self.role(),
            b"content" => {
                if self.cursor.token() == b'n' {
                    let (_, range) = self.value()?;
                    self.scan.places.null_contents.push(range);
                    return Ok(());
                }
                self.chat_content()
            }
            b"tool_calls" => {
                let calls = self.elements(|walker, _| walker.json_text().map(drop))?;
                self.scan.has_tool_history |= calls > 0;
                let turns = &self.scan.places.tool_turns;
                if calls > 0 && turns.last().is_none_or(|turn| turn.message != message) {
                    self.scan.places.tool_turns.push(ToolTurn { message, end: self.cursor.at() });
                }
                Ok(())
            }
            b"tool_call_id" => {
                self.scan.has_tool_history = true;
                self.cursor.skip()
            }
            b"name" | b"refusal" | b"reasoning" | b"reasoning_content" => self.text(),
            b"function_call" => self.json_text().map(drop),
            _ => self.cursor.skip(),
        }
    }

    fn role(&mut self) -> Parsed<()> {
        let Some(text) = self.string()? else { return Ok(()) };
        match self.cursor.characters(&text).as_deref() {
            Some(b"developer") => {
                self.speaker = Speaker::Instructor;
                self.scan.has_developer_role = true;
                self.scan.places.developer_roles.push(text.quoted());
            }
            Some(b"system") => {
                self.speaker = Speaker::Instructor;
                self.scan.places.system_roles.push(text.quoted());
            }
            Some(b"assistant") => self.speaker = Speaker::Model,
            _ => {}
        }
        Ok(())
    }

    fn chat_content(&mut self) -> Parsed<()> {
        if self.cursor.token() == b'"' {
            return self.text();
        }
        self.elements(|walker, _| walker.chat_part()).map(drop)
    }

    fn chat_part(&mut self) -> Parsed<()> {
        if self.cursor.token() == b'"' {
            return self.text();
        }
        let mut seen = MediumSeen::default();
        self.members(|walker, key, _| {
            match key {
                b"text" | b"refusal" | b"thinking" => return walker.text(),
                b"type" => {
                    seen.kind = match &*walker.word()? {
                        b"image_url" => Some(Medium::Image),
                        b"video_url" | b"video" => Some(Medium::Video),
                        b"input_audio" => Some(Medium::Audio),
                        b"file" | b"document_url" => Some(Medium::Document),
                        _ => seen.kind,
                    };
                }
                b"image_url" | b"video_url" | b"document_url" | b"input_audio" | b"file" => {
                    if let Some(data) = walker.address()? {
                        seen.is_remote = !walker.cursor.bytes(data.inside.clone()).starts_with(b"data:")
                            && !matches!(key, b"input_audio" | b"file");
                        seen.data = (!seen.is_remote).then_some(data);
                    }
                }
                _ => walker.cursor.skip()?,
            }
            Ok(())
        })?;
        self.count_medium(&seen);
        Ok(())
    }

    /// A medium given as a string, or as the member of an object that holds its address or its bytes.
    fn address(&mut self) -> Parsed<Option<Text>> {
        if self.cursor.token() != b'{' {
            return self.string();
        }
        let mut found = None;
        self.members(|walker, key, _| {
            if matches!(key, b"url" | b"data" | b"file_data") {
                found = walker.string()?.or(found.take());
                return Ok(());
            }
            walker.cursor.skip()
        })?;
        Ok(found)
    }
}

fn noted(key: &[u8]) -> Option<&'static str> {
    match key {
        b"name" => Some("name"),
        b"reasoning" => Some("reasoning"),
        b"reasoning_content" => Some("reasoning_content"),
        _ => None,
    }
}
