//! What became of the events, and the five indicators that follow from it.

use serde::{Deserialize, Serialize};

use super::known::{self, Known, Ratio};

/// Why nobody knows what became of single attempts: sources such as `exec` and a tailed file tell their
/// sender nothing.
pub const NO_ANSWERS: &str = "the source gives no answers";

/// How many events met each fate. All counts are of ids, but for the ones that say copies or
/// records. The classes are defined where the account is kept; this is their list.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Counts {
    /// Due and never tried, because the load ended or was aborted.
    pub unsent: u64,
    /// Tried at least once.
    pub issued: u64,
    /// Tried more than once by the generator.
    pub resent: u64,
    /// The source took responsibility. This count and the next two, and `recovered`, are unknown where
    /// the source gives no answers.
    #[serde(with = "known::count")]
    #[cfg_attr(test, schemars(schema_with = "known::schema::count"))]
    pub acked: Known<u64>,
    /// The source said no, and never yes.
    #[serde(with = "known::count")]
    #[cfg_attr(test, schemars(schema_with = "known::schema::count"))]
    pub refused: Known<u64>,
    /// The source never answered.
    #[serde(with = "known::count")]
    #[cfg_attr(test, schemars(schema_with = "known::schema::count"))]
    pub unknown: Known<u64>,
    /// What the system owes: acked or issued, see the load's `owed_rule`.
    pub owed: u64,
    /// Seen in the store with the right checksums, once an id.
    pub stored: u64,
    /// Stored, and where a normal reader gets it.
    pub published: u64,
    /// Owed and not stored when all was over.
    pub lost: u64,
    /// The part of lost that is still readable in the agent's own channel.
    pub stranded: Known<u64>,
    /// Stored and not published when all was over.
    pub unpublished: u64,
    /// The same by cause.
    pub unpublished_by_cause: Vec<UnpublishedCount>,
    /// Ids stored more than once, those that the generator itself sent twice left out.
    pub duplicated: u64,
    /// Extra copies of those ids.
    pub extra_copies: u64,
    /// Ids stored more than once that the generator sent more than once.
    pub duplicated_by_resends: u64,
    /// Extra copies of those ids.
    pub extra_copies_by_resends: u64,
    /// Stored although refused or unknown.
    #[serde(with = "known::count")]
    #[cfg_attr(test, schemars(schema_with = "known::schema::count"))]
    pub recovered: Known<u64>,
    /// Records with a wrong checksum. They never count as stored.
    pub corrupted: u64,
    /// Records that were merged or split, or that are foreign where the run owns the file.
    pub malformed: u64,
    /// Unterminated last records of files whose writer died.
    pub torn: u64,
    /// Ids of this run that were never issued.
    pub unexpected: u64,
    /// Records of other runs; held against nobody.
    pub foreign: u64,
    /// Stored after a later event of the same producer within one file or partition.
    pub reordered: u64,
}

impl Counts {
    /// The counts that follow from answers.
    fn answers(&mut self) -> [&mut Known<u64>; 4] {
        [
            &mut self.acked,
            &mut self.refused,
            &mut self.unknown,
            &mut self.recovered,
        ]
    }

    /// Takes back what older programs wrote of a source without answers: 0 where nobody knew.
    pub(super) fn without_answers(&mut self) {
        for count in self.answers() {
            if *count == Known::Value(0) {
                *count = Known::unknown(NO_ANSWERS);
            }
        }
    }
}

/// A part of the unpublished events.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct UnpublishedCount {
    /// For example `in_use_name` or `never_closed`.
    pub cause: String,
    /// Events.
    pub events: u64,
}

/// Bytes of event bodies.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Bytes {
    /// Of the events issued, once an id.
    pub issued_bytes: Known<u64>,
    /// Of the events acked.
    pub acked_bytes: Known<u64>,
    /// Of the events stored, once an id.
    pub stored_bytes: Known<u64>,
}

/// The five indicators, as exact ratios.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Indicators {
    /// Transfer success rate: stored ÷ issued.
    pub transfer_success_stored: Ratio,
    /// Transfer success rate: published ÷ issued.
    pub transfer_success_published: Ratio,
    /// Data loss rate: lost ÷ owed.
    pub data_loss: Ratio,
    /// Transfer delay, time per event: wall time in µs (first issued → last stored) ÷ issued.
    pub transfer_delay_us: Known<Ratio>,
    /// Transfer rate: events stored ÷ wall time in µs.
    pub transfer_rate_events: Known<Ratio>,
    /// Transfer rate: bytes stored ÷ wall time in µs.
    pub transfer_rate_bytes: Known<Ratio>,
    /// System load.
    pub system_load: SystemLoad,
}

impl Indicators {
    /// The indicators that follow from the counts and the wall time from the first issued to the
    /// last stored event. The system load is measured, not derived, and handed in.
    #[must_use]
    pub fn from_counts(
        counts: &Counts,
        bytes: &Bytes,
        wall_us: &Known<u64>,
        system_load: SystemLoad,
    ) -> Self {
        let rate_of_bytes = match (&bytes.stored_bytes, wall_us) {
            (Known::Value(stored), Known::Value(wall)) => Ratio::new(*stored, *wall).into(),
            (Known::Unknown(reason), _) | (_, Known::Unknown(reason)) => Known::unknown(reason),
        };
        Self {
            transfer_success_stored: Ratio::new(counts.stored, counts.issued),
            transfer_success_published: Ratio::new(counts.published, counts.issued),
            data_loss: Ratio::new(counts.lost, counts.owed),
            transfer_delay_us: wall_us.map(|wall| Ratio::new(*wall, counts.issued)),
            transfer_rate_events: wall_us.map(|wall| Ratio::new(counts.stored, *wall)),
            transfer_rate_bytes: rate_of_bytes,
            system_load,
        }
    }
}

/// What the system under test cost.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SystemLoad {
    /// CPU time of the agent, all its lives together.
    pub cpu_us: Known<u64>,
    /// CPU time in µs ÷ events stored.
    pub cpu_us_per_event: Known<Ratio>,
    /// The most memory the agent had resident.
    pub peak_rss_bytes: Known<u64>,
    /// The most its own directories held.
    pub peak_disk_bytes: Known<u64>,
    /// What it wrote to disk.
    pub written_disk_bytes: Known<u64>,
    /// The fullest a channel was, in millionths of its capacity.
    pub peak_channel_fill_ppm: Known<u64>,
    /// What went through each proxy.
    pub proxies: Vec<ProxyBytes>,
}

/// Bytes through one link.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ProxyBytes {
    /// The link, `from->to`.
    pub link: String,
    /// Bytes in its direction.
    pub forward_bytes: u64,
    /// Bytes of the answers.
    pub backward_bytes: u64,
    /// Connections accepted.
    pub connections: u64,
}
