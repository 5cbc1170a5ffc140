//! The handshake at the start of an Avro connection.
//!
//! Format (Avro 1.11 specification, "Handshake"). Request: client's MD5, client's protocol or null,
//! the MD5 the client believes the server has, metadata or null. Response: match, server's protocol
//! or null, server's MD5 or null, metadata or null. The first request of a connection carries one
//! in front of the call, and its answer one in front of the reply.
//!
//! The server here decodes every call by the one schema it has, so it needs nothing from the
//! client's protocol text and never answers `NONE`: `BOTH` where the client knows one of our two
//! MD5s, else `CLIENT` with our protocol.

use super::datum::{Reader, put_bytes, put_long};
use super::{FLUME_MD5, Malformed, PROTOCOL, PROTOCOL_MD5};

/// How far the two sides know each other's protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// Both know; the call was executed.
    Both,
    /// The server knows the client; it sends its own protocol. The call was executed.
    Client,
    /// The server does not know the client's protocol; the call was not executed and must be sent
    /// again, with text.
    None,
}

/// A client's half, as far as the server needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// The MD5 the client believes the server's protocol to have.
    pub server_md5: [u8; 16],
}

impl Request {
    /// Reads a request and leaves `reader` at the call that follows.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.fixed(16, "the client's MD5")?;
        if reader.optional("the client's protocol")? {
            reader.bytes("the client's protocol")?;
        }
        let mut server_md5 = [0; 16];
        server_md5.copy_from_slice(reader.fixed(16, "the server's MD5")?);
        if reader.optional("the handshake's metadata")? {
            reader.map("the handshake's metadata", |_, _| {})?;
        }
        Ok(Self { server_md5 })
    }

    /// What the server answers to this client.
    pub fn answer(&self) -> Match {
        if self.server_md5 == FLUME_MD5 || self.server_md5 == PROTOCOL_MD5 {
            Match::Both
        } else {
            Match::Client
        }
    }
}

/// Appends a client's request: first as Flume's own clients do, with `with_text` in full for a
/// server that said `NONE`.
pub fn put_request(out: &mut Vec<u8>, with_text: bool) {
    if with_text {
        out.extend_from_slice(&PROTOCOL_MD5);
        put_long(out, 1);
        put_bytes(out, PROTOCOL.as_bytes());
        out.extend_from_slice(&PROTOCOL_MD5);
    } else {
        out.extend_from_slice(&FLUME_MD5);
        put_long(out, 0);
        out.extend_from_slice(&FLUME_MD5);
    }
    // Metadata, present and empty, as the Java client writes it.
    put_long(out, 1);
    put_long(out, 0);
}

/// Appends a server's answer.
pub fn put_response(out: &mut Vec<u8>, answer: Match) {
    match answer {
        Match::Both => out.extend_from_slice(&[0, 0, 0, 0]),
        Match::Client | Match::None => {
            put_long(out, if answer == Match::Client { 1 } else { 2 });
            put_long(out, 1);
            put_bytes(out, PROTOCOL.as_bytes());
            put_long(out, 1);
            out.extend_from_slice(&PROTOCOL_MD5);
            put_long(out, 0);
        }
    }
}

/// Reads a server's answer and leaves `reader` at the reply that follows.
pub fn read_response(reader: &mut Reader<'_>) -> Result<Match, Malformed> {
    let answer = match reader.long()? {
        0 => Match::Both,
        1 => Match::Client,
        2 => Match::None,
        index => {
            return Err(Malformed::Union {
                what: "the handshake's match",
                index,
            });
        }
    };
    if reader.optional("the server's protocol")? {
        reader.bytes("the server's protocol")?;
    }
    if reader.optional("the server's MD5")? {
        reader.fixed(16, "the server's MD5")?;
    }
    if reader.optional("the handshake's metadata")? {
        reader.map("the handshake's metadata", |_, _| {})?;
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_side_writes_the_other_reads() {
        for (with_text, expected) in [(false, Match::Both), (true, Match::Both)] {
            let mut bytes = Vec::new();
            put_request(&mut bytes, with_text);
            let mut reader = Reader::new(&bytes);
            assert_eq!(Request::read(&mut reader).unwrap().answer(), expected);
            reader.finish().unwrap();
        }
        for answer in [Match::Both, Match::Client, Match::None] {
            let mut bytes = Vec::new();
            put_response(&mut bytes, answer);
            let mut reader = Reader::new(&bytes);
            assert_eq!(read_response(&mut reader).unwrap(), answer);
            reader.finish().unwrap();
        }
    }

    #[test]
    fn a_client_that_expects_another_server_gets_the_protocol() {
        assert_eq!(
            Request {
                server_md5: [7; 16]
            }
            .answer(),
            Match::Client
        );
        assert_eq!(
            Request {
                server_md5: PROTOCOL_MD5
            }
            .answer(),
            Match::Both
        );
    }
}
