use super::*;
use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A budget that counts.
#[derive(Clone)]
struct Counted {
    held: Arc<AtomicUsize>,
    most: usize,
}

impl Room for Counted {
    fn take(&mut self, bytes: usize) -> bool {
        let fits = self.held.load(Ordering::Relaxed) + bytes <= self.most;
        if fits {
            self.held.fetch_add(bytes, Ordering::Relaxed);
        }
        fits
    }
    fn give(&mut self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

fn tape(limit: usize, most: usize) -> (Tape<Counted>, Arc<AtomicUsize>) {
    let held = Arc::new(AtomicUsize::new(0));
    (Tape::new(limit, Counted { held: held.clone(), most }), held)
}

fn rest(tape: &mut Tape<Counted>, reader: ReaderId) -> (String, Read) {
    let mut text = String::new();
    loop {
        match tape.read(reader) {
            Read::Piece(piece) => text.push_str(std::str::from_utf8(&piece).unwrap()),
            end => return (text, end),
        }
    }
}

#[test]
fn every_reader_reads_everything_at_its_own_pace_and_late_ones_join() {
    let (mut tape, _) = tape(100, 100);
    let first = tape.open().unwrap();
    tape.push("ab".into());
    assert_eq!(rest(&mut tape, first), ("ab".to_owned(), Read::AtHead));
    tape.push("cd".into());
    let late = tape.open().unwrap();
    tape.push("ef".into());
    tape.end(End::Complete);
    assert_eq!(rest(&mut tape, late), ("abcdef".to_owned(), Read::Ended(End::Complete)));
    assert_eq!(rest(&mut tape, first), ("cdef".to_owned(), Read::Ended(End::Complete)));
    assert_eq!(tape.whole().unwrap(), "abcdef");
}

#[test]
fn one_that_leaves_takes_nothing_from_the_others() {
    let (mut tape, _) = tape(4, 100);
    let (first, second) = (tape.open().unwrap(), tape.open().unwrap());
    tape.push("ab".into());
    tape.close(first);
    tape.push("cd".into());
    tape.end(End::Broken);
    assert_eq!(rest(&mut tape, second), ("abcd".to_owned(), Read::Ended(End::Broken)));
    assert_eq!(tape.whole(), None, "what broke is no answer");
    assert_eq!(tape.readers(), 1);
}

#[test]
fn past_the_limit_the_slowest_loses_its_place_and_nobody_else() {
    let (mut tape, held) = tape(4, 100);
    let (slow, quick) = (tape.open().unwrap(), tape.open().unwrap());
    let mut read = String::new();
    for piece in ["ab", "cd", "ef", "gh"] {
        tape.push(piece.into());
        read.push_str(&rest(&mut tape, quick).0);
        assert!(tape.kept() <= 4 && held.load(Ordering::Relaxed) <= 4);
    }
    tape.end(End::Complete);
    assert_eq!(read, "abcdefgh");
    assert_eq!(tape.read(slow), Read::Lost);
    assert_eq!(tape.read(quick), Read::Ended(End::Complete));
    assert_eq!(tape.open(), None, "nobody can join any more");
    assert_eq!(tape.whole(), None, "and it cannot be kept");
}

#[test]
fn one_reader_alone_never_loses_its_place_however_little_room_there_is() {
    for (limit, most) in [(0, 100), (100, 0), (3, 2)] {
        let (mut tape, held) = tape(limit, most);
        let reader = tape.open().unwrap();
        for piece in ["a", "bcdef", "g"] {
            tape.push(piece.into());
            assert_eq!(rest(&mut tape, reader), (piece.to_owned(), Read::AtHead), "{limit} {most}");
        }
        assert_eq!((tape.kept(), held.load(Ordering::Relaxed)), (0, 0), "{limit} {most}");
    }
}

proptest! {
    /// Any schedule of pushes, reads, arrivals and departures: a reader reads a prefix of the whole without a gap, the
    /// bound holds but for the newest piece, and nothing is leaked.
    #[test]
    fn readers_read_what_was_written_or_are_told_that_it_is_gone(
        steps in prop::collection::vec((0..5_u8, 0..4_usize, 1..9_usize), 1..80),
        limit in 0..40_usize,
        most in 0..40_usize,
    ) {
        let (mut tape, held) = tape(limit, most);
        let mut written = String::new();
        let mut readers: Vec<Option<(ReaderId, String, bool)>> = vec![None; 4];
        for (what, who, size) in steps {
            match what {
                0 | 1 => {
                    let piece: String = (0..size).map(|i| char::from(b'a' + u8::try_from((written.len() + i) % 26).unwrap())).collect();
                    written.push_str(&piece);
                    tape.push(piece.clone().into());
                    prop_assert!(tape.kept() <= limit.max(piece.len()));
                    prop_assert!(tape.kept() <= most.max(piece.len()));
                }
                2 => if let Some((reader, text, lost)) = &mut readers[who] {
                    match tape.read(*reader) {
                        Read::Piece(piece) => { prop_assert!(!*lost); text.push_str(std::str::from_utf8(&piece).unwrap()); }
                        Read::AtHead => prop_assert_eq!(text.as_str(), written.as_str()),
                        Read::Lost => *lost = true,
                        Read::Ended(_) => prop_assert!(false),
                    }
                    prop_assert!(written.starts_with(text.as_str()));
                },
                3 => if readers[who].is_none() { readers[who] = tape.open().map(|id| (id, String::new(), false)); },
                _ => if let Some((reader, ..)) = readers[who].take() { tape.close(reader); },
            }
            prop_assert!(held.load(Ordering::Relaxed) <= most.min(tape.kept()));
            prop_assert_eq!(tape.readers(), readers.iter().flatten().count());
        }
        tape.end(End::Complete);
        if let Some(whole) = tape.whole() {
            prop_assert_eq!(whole, written.as_bytes());
        }
        let left: Vec<_> = readers.into_iter().flatten().collect();
        for (reader, text, lost) in left {
            let (more, end) = rest(&mut tape, reader);
            if end == Read::Lost { continue; }
            prop_assert!(!lost);
            prop_assert_eq!(text + &more, written.clone());
        }
    }
}
