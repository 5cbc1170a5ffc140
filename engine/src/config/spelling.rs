//! Guesses at what was meant.

/// The candidate nearest to `text`, if one is near enough to be worth offering.
pub(super) fn nearest<'c>(
    text: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    let lower = text.to_lowercase();
    let scored = candidates.into_iter().filter_map(|candidate| {
        let other = candidate.to_lowercase();
        let distance = if other == lower {
            0
        // A prefix that was forgotten or put twice: rollSize for hdfs.rollSize.
        } else if other.ends_with(&format!(".{lower}")) || lower.ends_with(&format!(".{other}")) {
            1
        } else {
            strsim::damerau_levenshtein(&lower, &other)
        };
        let limit = (text.chars().count().max(candidate.chars().count()) / 3).max(1);
        (distance <= limit).then_some((distance, candidate))
    });
    scored
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn near_is_offered_and_far_is_not() {
        let keys = ["hdfs.rollSize", "hdfs.rollCount", "batchSize", "channel"];
        assert_eq!(nearest("hdfs.rolSize", keys), Some("hdfs.rollSize"));
        assert_eq!(nearest("rollsize", keys), Some("hdfs.rollSize"));
        assert_eq!(nearest("BATCHSIZE", keys), Some("batchSize"));
        assert_eq!(nearest("channels", keys), Some("channel"));
        assert_eq!(nearest("colour", keys), None);
    }
}
