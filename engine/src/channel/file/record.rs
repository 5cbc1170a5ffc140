//! Headers of segments and records, and their checksums. The layout is specified in the module
//! documentation of [`super`].

use super::mutant::Mutant;

/// Bytes before a segment's first record: one sector, so that a header is written whole or not.
pub(super) const SEGMENT_HEADER: u64 = 512;
/// Bytes before a record's payload.
pub(super) const RECORD_HEADER: usize = 48;
/// Records begin at multiples of this.
pub(super) const ALIGN: u64 = 8;
/// Longest payload: 2 GiB less a margin, so that lengths fit `u32` whatever is added to them.
pub(super) const MAX_PAYLOAD: u64 = (2 << 30) - (1 << 20);
/// No epoch, sequence or event number of a log reaches this; so one more can always be computed.
pub(super) const MAX_NUMBER: u64 = 1 << 62;

const SEGMENT_MAGIC: [u8; 8] = *b"FBSEG001";
/// Begins every record. Searched for when a record is bad, to find out whether later ones exist.
pub(super) const RECORD_MAGIC: [u8; 4] = *b"FBr1";

/// The first sector of a segment that is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// Position of this use of a file among all uses of all files, counted from 1, without gaps.
    pub(super) epoch: u64,
    /// Sequence of the first record. All records below it were durable when this was written.
    pub(super) base_sequence: u64,
    /// Number of the first event put into this segment.
    pub(super) base_event: u64,
    /// Bytes of the file.
    pub(super) size: u64,
}

/// What a sector at the start of a segment file is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FirstSector {
    /// All zeros: the file is free.
    Free,
    Used(SegmentHeader),
    Bad,
}

impl SegmentHeader {
    /// Whether a log can have come to such numbers.
    pub(super) fn is_possible(&self) -> bool {
        let numbers = [self.epoch, self.base_sequence, self.base_event];
        numbers.iter().all(|number| *number < MAX_NUMBER)
            && self.epoch > 0
            && self.base_sequence > 0
    }

    pub(super) fn encode(&self) -> [u8; SEGMENT_HEADER as usize] {
        let mut sector = [0; SEGMENT_HEADER as usize];
        sector[..8].copy_from_slice(&SEGMENT_MAGIC);
        sector[8..16].copy_from_slice(&self.epoch.to_le_bytes());
        sector[16..24].copy_from_slice(&self.base_sequence.to_le_bytes());
        sector[24..32].copy_from_slice(&self.base_event.to_le_bytes());
        sector[32..40].copy_from_slice(&self.size.to_le_bytes());
        let crc = crc32c::crc32c(&sector[..40]);
        sector[40..44].copy_from_slice(&crc.to_le_bytes());
        sector
    }

    pub(super) fn decode(sector: &[u8]) -> FirstSector {
        if sector.iter().all(|byte| *byte == 0) {
            return FirstSector::Free;
        }
        if sector.len() < 44
            || sector[..8] != SEGMENT_MAGIC
            || crc32c::crc32c(&sector[..40]) != u32_at(sector, 40)
        {
            return FirstSector::Bad;
        }
        FirstSector::Used(Self {
            epoch: u64_at(sector, 8),
            base_sequence: u64_at(sector, 16),
            base_event: u64_at(sector, 24),
            size: u64_at(sector, 32),
        })
    }
}

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Events entered the channel. The payload is a list of batches.
    Put,
    /// Events left it. The payload is a list of ranges of event numbers.
    Take,
}

/// A record without its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordHeader {
    pub(super) kind: Kind,
    /// Bytes of payload.
    pub(super) length: u32,
    /// Position among all records, without gaps.
    pub(super) sequence: u64,
    /// All records up to this sequence were durable when this one was written.
    pub(super) durable: u64,
    /// Put: number of its first event. Take: 0.
    pub(super) first_event: u64,
    /// How many events entered or left.
    pub(super) events: u32,
}

impl RecordHeader {
    /// Bytes from this record to the next.
    pub(super) fn span(length: u64) -> u64 {
        (RECORD_HEADER as u64 + length).next_multiple_of(ALIGN)
    }

    /// Appends the header to `out`. `payload_crc` is the CRC32C of the payload alone.
    pub(super) fn encode(&self, epoch: u64, payload_crc: u32, mutant: Mutant, out: &mut Vec<u8>) {
        let mut header = [0; RECORD_HEADER];
        header[..4].copy_from_slice(&RECORD_MAGIC);
        header[4] = match self.kind {
            Kind::Put => 1,
            Kind::Take => 2,
        };
        header[8..12].copy_from_slice(&self.length.to_le_bytes());
        header[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        header[24..32].copy_from_slice(&self.durable.to_le_bytes());
        header[32..40].copy_from_slice(&self.first_event.to_le_bytes());
        header[40..44].copy_from_slice(&self.events.to_le_bytes());
        let crc = checksum(epoch, payload_crc, &header, mutant);
        header[12..16].copy_from_slice(&crc.to_le_bytes());
        let crc = header_checksum(epoch, &header, mutant);
        header[44..48].copy_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&header);
    }

    /// Reads a header, if the bytes are one that was written in this use of the segment. Says
    /// nothing about the payload: see [`RecordHeader::is_valid`].
    pub(super) fn decode(bytes: &[u8], epoch: u64, mutant: Mutant) -> Option<Self> {
        if bytes.len() < RECORD_HEADER || bytes[..4] != RECORD_MAGIC || bytes[5..8] != [0; 3] {
            return None;
        }
        if header_checksum(epoch, bytes, mutant) != u32_at(bytes, 44) {
            return None;
        }
        let kind = match bytes[4] {
            1 => Kind::Put,
            2 => Kind::Take,
            _ => return None,
        };
        let length = u32_at(bytes, 8);
        (u64::from(length) <= MAX_PAYLOAD).then(|| Self {
            kind,
            length,
            sequence: u64_at(bytes, 16),
            durable: u64_at(bytes, 24),
            first_event: u64_at(bytes, 32),
            events: u32_at(bytes, 40),
        })
    }

    /// Whether header and payload are those that were written in this use of the segment.
    pub(super) fn is_valid(header: &[u8], payload: &[u8], epoch: u64, mutant: Mutant) -> bool {
        checksum(epoch, crc32c::crc32c(payload), header, mutant) == u32_at(header, 12)
    }
}

/// CRC32C over payload, epoch and header, in this order: the payload's part is known before the
/// place in the log is, and so is computed outside all locks.
fn checksum(epoch: u64, payload_crc: u32, header: &[u8], mutant: Mutant) -> u32 {
    let epoch = if mutant.omits_epoch() { 0 } else { epoch };
    let crc = crc32c::crc32c_append(payload_crc, &epoch.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &header[..12]);
    crc32c::crc32c_append(crc, &header[16..44])
}

/// CRC32C over epoch and header. A header of its own can be trusted, and skipped over, without
/// reading its payload; and a search for later records is not sent through megabytes by a length
/// that is none.
fn header_checksum(epoch: u64, header: &[u8], mutant: Mutant) -> u32 {
    let epoch = if mutant.omits_epoch() { 0 } else { epoch };
    crc32c::crc32c_append(crc32c::crc32c(&epoch.to_le_bytes()), &header[..44])
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(header: &RecordHeader, payload: &[u8], epoch: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        header.encode(epoch, crc32c::crc32c(payload), Mutant::None, &mut bytes);
        bytes
    }

    #[test]
    fn the_layout_is_the_one_specified() {
        let header = RecordHeader {
            kind: Kind::Put,
            length: 3,
            sequence: 0x11,
            durable: 0x10,
            first_event: 0x22,
            events: 2,
        };
        let bytes = encoded(&header, b"abc", 7);
        let mut expected = Vec::new();
        expected.extend_from_slice(b"FBr1\x01\0\0\0\x03\0\0\0");
        // Computed by hand, as documented: payload, epoch, the first 12 bytes, those from 16 to 44.
        let mut covered = b"abc\x07\0\0\0\0\0\0\0FBr1\x01\0\0\0\x03\0\0\0".to_vec();
        let rest = b"\x11\0\0\0\0\0\0\0\x10\0\0\0\0\0\0\0\x22\0\0\0\0\0\0\0\x02\0\0\0";
        covered.extend_from_slice(rest);
        expected.extend_from_slice(&crc32c::crc32c(&covered).to_le_bytes());
        expected.extend_from_slice(rest);
        let mut covered = b"\x07\0\0\0\0\0\0\0".to_vec();
        covered.extend_from_slice(&expected);
        expected.extend_from_slice(&crc32c::crc32c(&covered).to_le_bytes());
        assert_eq!(bytes, expected);
    }

    #[test]
    fn a_record_of_another_use_of_the_segment_is_not_valid() {
        let header = RecordHeader {
            kind: Kind::Take,
            length: 3,
            sequence: 5,
            durable: 4,
            first_event: 0,
            events: 1,
        };
        let bytes = encoded(&header, b"abc", 7);
        assert!(RecordHeader::is_valid(&bytes, b"abc", 7, Mutant::None));
        assert!(!RecordHeader::is_valid(&bytes, b"abc", 8, Mutant::None));
        assert!(!RecordHeader::is_valid(&bytes, b"abd", 7, Mutant::None));
    }

    #[test]
    fn a_zero_sector_is_a_free_segment() {
        assert_eq!(SegmentHeader::decode(&[0; 512]), FirstSector::Free);
        assert_eq!(SegmentHeader::decode(&[]), FirstSector::Free);
        assert_eq!(SegmentHeader::decode(&[1; 512]), FirstSector::Bad);
    }

    proptest! {
        /// For all headers, what is written is what is read; for all flipped bits, it is refused.
        #[test]
        fn headers_return(epoch: u64, base_sequence: u64, base_event: u64, size: u64, flip in 0..352usize) {
            let header = SegmentHeader { epoch, base_sequence, base_event, size };
            let mut sector = header.encode();
            prop_assert_eq!(SegmentHeader::decode(&sector), FirstSector::Used(header));
            sector[flip / 8] ^= 1 << (flip % 8);
            prop_assert_eq!(SegmentHeader::decode(&sector), FirstSector::Bad);
        }

        #[test]
        fn records_return(
            put: bool, sequence: u64, durable: u64, first_event: u64, events: u32, epoch: u64,
            payload in prop::collection::vec(any::<u8>(), 0..100), flip in 0..384usize,
        ) {
            let kind = if put { Kind::Put } else { Kind::Take };
            let header = RecordHeader { kind, length: payload.len() as u32, sequence, durable, first_event, events };
            let mut bytes = encoded(&header, &payload, epoch);
            prop_assert_eq!(RecordHeader::decode(&bytes, epoch, Mutant::None), Some(header));
            prop_assert!(RecordHeader::is_valid(&bytes, &payload, epoch, Mutant::None));
            bytes[flip / 8] ^= 1 << (flip % 8);
            let refused = RecordHeader::decode(&bytes, epoch, Mutant::None).is_none()
                || !RecordHeader::is_valid(&bytes, &payload, epoch, Mutant::None);
            prop_assert!(refused);
        }
    }
}
