//! The fuzz target of the journal's reader: journals as a broken disk may have left them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Frame, HEAD, Header, JournalError, MAGIC, Reader, Tail, Writer, code};

/// Reads a journal. Cut off where it is said to be torn it is the same one; what was read from it can
/// be written, and is the same when it is read again.
///
/// A byte of flags, then the journal. Flag 1: checksums are put right before it is read, so that
/// mutations reach the code behind them.
pub fn journal(input: &[u8]) {
    let _ = content_of(input);
}

/// What a journal says.
type Content = (Header, Vec<Frame>, Tail);

/// What a journal says; `None` if it is none, or corrupt.
fn content_of(input: &[u8]) -> Option<Content> {
    let (&flags, bytes) = input.split_first()?;
    let mut bytes = bytes.to_vec();
    if flags & 1 == 1 {
        put_right(&mut bytes);
    }
    let scratch = Scratch::new();
    let content = match read(&scratch.with("found", &bytes)) {
        Ok(content) => content,
        Err(JournalError::Corrupt { at, .. }) => {
            assert!(at <= bytes.len() as u64, "a place behind the end");
            return None;
        }
        Err(JournalError::Io { source, .. }) => unreachable!("a file in memory: {source}"),
        Err(_) => return None,
    };
    if let Tail::Torn { at } = content.2 {
        let cut = bytes.get(..at as usize).unwrap_or_default();
        let again = read(&scratch.with("cut", cut));
        assert!(again.is_ok_and(|again| again == content), "cut at {at}");
    }
    let written = scratch.0.join("written");
    let outcome = write(&written, &content);
    assert!(outcome.is_ok(), "{outcome:?}");
    let again = read(&written).ok();
    let (header, frames, _) = &content;
    assert!(
        again.is_some_and(|(same, all, tail)| same == *header
            && all == *frames
            && tail == Tail::Clean),
        "{content:?} is another one when written again"
    );
    Some(content)
}

fn read(path: &Path) -> Result<Content, JournalError> {
    let mut reader = Reader::open(path)?;
    let frames = reader.by_ref().collect::<Result<Vec<_>, _>>()?;
    // The iterator has ended without an error, so it knows.
    let tail = reader.tail().unwrap_or(Tail::Torn { at: u64::MAX });
    Ok((*reader.header(), frames, tail))
}

fn write(path: &Path, (header, frames, _): &Content) -> std::io::Result<()> {
    let mut writer = Writer::create(path, header).map_err(std::io::Error::other)?;
    for frame in frames {
        match frame {
            Frame::Planned { producer, count } => writer.planned(*producer, *count),
            Frame::Sent(sent) => writer.sent(sent),
            Frame::Answered(answered) => writer.answered(answered),
            Frame::Read(read) => writer.read(read),
            Frame::File { file, at, change } => writer.file(*file, *at, change),
            Frame::Looked { from, to } => writer.looked(*from, *to),
            Frame::Blind { from, to, why } => writer.blind(*from, *to, why),
        }?;
    }
    writer.finish()
}

/// Puts the checksums of all frames right, as far as lengths lead from one to the next.
fn put_right(bytes: &mut [u8]) {
    let mut at = MAGIC.len();
    let head = |bytes: &[u8], at: usize| bytes.get(at..)?.first_chunk::<HEAD>().copied();
    while let Some([a, b, c, d, _, _, _, _, kind]) = head(bytes, at) {
        let end = at + HEAD + u32::from_le_bytes([a, b, c, d]) as usize;
        let Some(body) = bytes.get(at + HEAD..end) else {
            return;
        };
        let crc = code::crc(at as u64, &[kind], body);
        bytes[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
        at = end;
    }
}

/// A directory that goes away again; in memory where the system has that.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() {
            memory.to_owned()
        } else {
            std::env::temp_dir()
        };
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!(
            "flume-bench-journal-{}-{number}",
            std::process::id()
        ));
        // One that was killed, and had the same number, may have left its own.
        let _ = fs::remove_dir_all(&path);
        let made = fs::create_dir(&path);
        assert!(made.is_ok(), "{}: {made:?}", path.display());
        Self(path)
    }

    fn with(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        let written = fs::write(&path, bytes);
        assert!(written.is_ok(), "{}: {written:?}", path.display());
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise the mutations of it would be those of nothing. A change of the layout shows here:
    /// journals of runs that were made before are judged again.
    #[test]
    fn the_target_gets_to_the_frames_of_a_run() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpora/journal");
        let mut input = fs::read(corpus.join("run-with-a-kill")).unwrap();
        let (header, frames, tail) = content_of(&input).unwrap();
        assert_eq!((header.producers, tail), (2, Tail::Clean));
        let sent = frames
            .iter()
            .filter(|frame| matches!(frame, Frame::Sent(_)));
        assert!(sent.count() > 10);
        // A checksum that is wrong makes a difference, unless it is put right again.
        input[1 + MAGIC.len() + 4] ^= 1;
        assert_eq!(content_of(&input), None);
        input[0] = 1;
        assert_eq!(content_of(&input), Some((header, frames, tail)));
    }
}
