//! Forges an identity that nobody issued: a second, independent encoder of the format, so that an
//! invented event is right in every respect but the one that matters.

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// The same body with a sequence number far beyond any that is sent, all checksums right.
pub(super) fn successor(body: &[u8], identity: usize) -> Vec<u8> {
    let mut forged = body.to_vec();
    let Some(text) = body.get(identity + 4..identity + 64) else {
        return forged;
    };
    let mut raw = decode(text);
    // The sequence number is bytes 11 to 16; 2^40 is added to it.
    raw[11] = raw[11].wrapping_add(1);
    let checksum = crc32c::crc32c_append(crc32c::crc32c(b"fb1u"), &raw[..33]);
    raw[33..37].copy_from_slice(&checksum.to_be_bytes());
    forged[identity + 4..identity + 64].copy_from_slice(&encode(&raw));
    forged
}

fn decode(text: &[u8]) -> [u8; 37] {
    let mut raw = [0u8; 37];
    for (place, character) in text.iter().enumerate() {
        let value = ALPHABET
            .iter()
            .position(|known| known == character)
            .unwrap_or(0);
        for bit in 0..5 {
            let at = place * 5 + bit;
            if at < 296 && value >> (4 - bit) & 1 == 1 {
                raw[at / 8] |= 0x80 >> (at % 8);
            }
        }
    }
    raw
}

fn encode(raw: &[u8; 37]) -> [u8; 60] {
    std::array::from_fn(|place| {
        let value = (0..5).fold(0, |value, bit| {
            let at = place * 5 + bit;
            let set = at < 296 && raw[at / 8] & (0x80 >> (at % 8)) != 0;
            value << 1 | usize::from(set)
        });
        ALPHABET[value]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_decodes_and_encodes_to_itself() {
        let raw: [u8; 37] = std::array::from_fn(|i| (i * 89 + 5) as u8);
        assert_eq!(decode(&encode(&raw)), raw);
    }
}
