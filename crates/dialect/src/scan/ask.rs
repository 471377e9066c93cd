//! The texts of what is asked now, for whoever weighs a request by its words.

use super::Scan;
use super::json::Parsed;
use super::walk::Walker;

/// Gives each text of [`Scan::ask`] to `each`: the bytes between the quotes, escapes as written. Only the texts: no
/// media, no names of members. `body` is the one that was scanned.
///
/// Knows no dialect: in every one of them the content of a turn is a string, or an array of parts whose words stand in
/// `text`.
pub fn ask_texts(body: &[u8], scan: &Scan, mut each: impl FnMut(&[u8])) {
    let Some(content) = scan.ask.clone().and_then(|range| body.get(range)) else { return };
    let mut walker = Walker::new(content, true);
    // The body was found to be JSON by the scan, so that nothing can be found broken here.
    let _read: Parsed<()> = texts(&mut walker, &mut each);
}

fn texts(walker: &mut Walker<'_>, each: &mut impl FnMut(&[u8])) -> Parsed<()> {
    if walker.cursor.token() == b'"' {
        return text(walker, each);
    }
    walker
        .elements(|walker, _| {
            if walker.cursor.token() == b'"' {
                return text(walker, each);
            }
            walker.members(|walker, key, _| if key == b"text" { text(walker, each) } else { walker.cursor.skip() })
        })
        .map(drop)
}

fn text(walker: &mut Walker<'_>, each: &mut impl FnMut(&[u8])) -> Parsed<()> {
    if let Some(text) = walker.string()? {
        each(walker.cursor.bytes(text.inside));
    }
    Ok(())
}
