//! Frames of Avro's Netty transport, both directions.
//!
//! Format (Avro 1.11, `NettyTransportCodec`), big-endian: int32 serial, int32 number of buffers,
//! then for each buffer an int32 length and the bytes. The buffers of a frame, put together, are
//! one message; where they are cut means nothing, and a buffer may be empty. An answer carries the
//! serial of its request.

use super::Malformed;

/// More buffers than any peer sends: Java cuts at 8 KiB, so the default frame limit makes 12,208 of
/// them.
const MAX_BUFFERS: i64 = 1 << 20;

/// Puts frames together from bytes as they arrive.
///
/// The message grows as its bytes arrive, never ahead of them. Its buffer is kept from frame to
/// frame, but given back after an unusually large frame.
#[derive(Debug)]
pub struct FrameDecoder {
    limit: usize,
    state: State,
    word: [u8; 4],
    word_len: usize,
    serial: u32,
    buffers_left: i64,
    buffer_left: usize,
    message: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Serial,
    Count,
    Length,
    Body,
    Complete,
}

/// A message's buffer above this size is not kept for the next frame.
const KEPT_CAPACITY: usize = 4 << 20;

impl FrameDecoder {
    /// A decoder that refuses messages of more than `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            state: State::Serial,
            word: [0; 4],
            word_len: 0,
            serial: 0,
            buffers_left: 0,
            buffer_left: 0,
            message: Vec::new(),
        }
    }

    /// Takes bytes from the front of `input` until a frame is complete or the input is used up;
    /// true if complete.
    ///
    /// The frame can then be had from [`FrameDecoder::frame`] until the next call. After an error
    /// the stream has lost its place, and the connection is of no more use.
    pub fn push(&mut self, input: &mut &[u8]) -> Result<bool, Malformed> {
        if self.state == State::Complete {
            self.message.clear();
            if self.message.capacity() > KEPT_CAPACITY {
                self.message = Vec::new();
            }
            self.state = State::Serial;
        }
        while !input.is_empty() {
            if self.state == State::Body {
                let take = self.buffer_left.min(input.len());
                self.message.extend_from_slice(&input[..take]);
                *input = &input[take..];
                self.buffer_left -= take;
                if self.buffer_left == 0 && self.next_buffer() {
                    return Ok(true);
                }
            } else if let Some(word) = self.word(input)
                && self.header(word)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The complete frame: its serial and its message.
    pub fn frame(&self) -> (u32, &[u8]) {
        debug_assert_eq!(self.state, State::Complete, "no frame is complete");
        (self.serial, &self.message)
    }

    /// Memory held for the frame, in bytes.
    pub fn held(&self) -> usize {
        self.message.capacity()
    }

    /// True between frames: the peer may close here without cutting one in two.
    pub fn is_idle(&self) -> bool {
        self.state == State::Complete || (self.state == State::Serial && self.word_len == 0)
    }

    fn word(&mut self, input: &mut &[u8]) -> Option<u32> {
        let take = (4 - self.word_len).min(input.len());
        self.word[self.word_len..self.word_len + take].copy_from_slice(&input[..take]);
        *input = &input[take..];
        self.word_len += take;
        if self.word_len < 4 {
            return None;
        }
        self.word_len = 0;
        Some(u32::from_be_bytes(self.word))
    }

    /// Handles one of the three numbers in front of the bytes; true if the frame ends with it.
    fn header(&mut self, word: u32) -> Result<bool, Malformed> {
        let signed = i64::from(word.cast_signed());
        match self.state {
            State::Serial => {
                self.serial = word;
                self.state = State::Count;
                Ok(false)
            }
            State::Count => {
                if !(0..=MAX_BUFFERS).contains(&signed) {
                    return Err(Malformed::Frame {
                        what: "buffers",
                        announced: signed,
                    });
                }
                self.buffers_left = signed;
                Ok(self.next_buffer())
            }
            _ => {
                let len = usize::try_from(signed).map_err(|_| Malformed::Frame {
                    what: "bytes",
                    announced: signed,
                })?;
                let size = self.message.len() + len;
                if size > self.limit {
                    return Err(Malformed::TooLarge {
                        size,
                        limit: self.limit,
                    });
                }
                self.buffer_left = len;
                self.state = State::Body;
                // An empty buffer has no byte that would move the state on.
                Ok(len == 0 && self.next_buffer())
            }
        }
    }

    /// Goes on to the next buffer's length; true if there is none.
    fn next_buffer(&mut self) -> bool {
        if self.buffers_left == 0 {
            self.state = State::Complete;
            return true;
        }
        self.buffers_left -= 1;
        self.state = State::Length;
        false
    }
}

/// Appends a frame of one buffer whose bytes `fill` appends.
pub fn put_frame(out: &mut Vec<u8>, serial: u32, fill: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(&serial.to_be_bytes());
    out.extend_from_slice(&1_u32.to_be_bytes());
    let length_at = out.len();
    out.extend_from_slice(&[0; 4]);
    fill(out);
    // A message of 4 GiB cannot be framed at all; senders stay under their batch size's bytes, far
    // below.
    let len = u32::try_from(out.len() - length_at - 4).unwrap_or(u32::MAX);
    out[length_at..length_at + 4].copy_from_slice(&len.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frames(
        decoder: &mut FrameDecoder,
        mut input: &[u8],
    ) -> Result<Vec<(u32, Vec<u8>)>, Malformed> {
        let mut out = Vec::new();
        while decoder.push(&mut input)? {
            let (serial, message) = decoder.frame();
            out.push((serial, message.to_vec()));
        }
        Ok(out)
    }

    #[test]
    fn buffers_are_joined_and_empty_ones_accepted() {
        let bytes = [
            0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 1, 7, 0, 0, 0, 2, 8, 9, 0, 0, 0, 3, 0, 0,
            0, 0,
        ];
        let mut decoder = FrameDecoder::new(100);
        assert_eq!(
            frames(&mut decoder, &bytes).unwrap(),
            [(2, vec![7, 8, 9]), (3, vec![])]
        );
        assert!(decoder.is_idle());
    }

    #[test]
    fn sizes_over_the_limit_are_refused_before_the_bytes_come() {
        let mut decoder = FrameDecoder::new(10);
        let bytes = [
            0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0, 0, 5,
        ];
        assert_eq!(
            frames(&mut decoder, &bytes),
            Err(Malformed::TooLarge {
                size: 11,
                limit: 10
            })
        );
        let mut decoder = FrameDecoder::new(usize::MAX);
        let negative = [0, 0, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(
            frames(&mut decoder, &negative),
            Err(Malformed::Frame {
                what: "bytes",
                announced: -1
            })
        );
        let many = [0, 0, 0, 1, 0x7f, 0xff, 0xff, 0xff];
        assert!(matches!(
            frames(&mut FrameDecoder::new(10), &many),
            Err(Malformed::Frame {
                what: "buffers",
                ..
            })
        ));
    }

    #[test]
    fn a_claimed_size_takes_no_memory() {
        let mut decoder = FrameDecoder::new(super::super::DEFAULT_FRAME_LIMIT);
        let bytes = [0, 0, 0, 1, 0, 0, 0, 1, 0x05, 0, 0, 0, 1, 2, 3];
        assert_eq!(frames(&mut decoder, &bytes).unwrap(), []);
        assert!(decoder.message.capacity() < 1024);
    }

    proptest! {
        #[test]
        fn frames_come_back_however_they_are_cut(
            messages in proptest::collection::vec((any::<u32>(), any::<Vec<u8>>()), 0..6),
            cuts in proptest::collection::vec(1_usize..40, 1..20),
        ) {
            let mut bytes = Vec::new();
            for (serial, message) in &messages {
                put_frame(&mut bytes, *serial, |out| out.extend_from_slice(message));
            }
            let mut decoder = FrameDecoder::new(1 << 20);
            let mut got = Vec::new();
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (head, tail) = rest.split_at(rest.len().min(*cut));
                got.extend(frames(&mut decoder, head).unwrap());
                rest = tail;
            }
            prop_assert_eq!(got, messages);
        }

        #[test]
        fn garbage_is_an_error_or_bounded(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut decoder = FrameDecoder::new(1000);
            let mut rest = &bytes[..];
            while let Ok(true) = decoder.push(&mut rest) {
                prop_assert!(decoder.frame().1.len() <= 300);
            }
        }
    }
}
