//! Median and range of a handful of figures.

use serde::Serialize;

/// Median, least and greatest of some figures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The middle one; of an even number, the mean of the two in the middle.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// The spread of `figures`; `None` if there is none, or if one of them is not a number, which
    /// is what a division by nothing gives and must not look like a result.
    #[must_use]
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        if figures.iter().any(|figure| !figure.is_finite()) {
            return None;
        }
        figures.sort_by(f64::total_cmp);
        let (first, last) = (figures.first()?, figures.last()?);
        let (below, above) = (
            figures.get((figures.len() - 1) / 2)?,
            figures.get(figures.len() / 2)?,
        );
        Some(Spread {
            median: (below + above) / 2.0,
            min: *first,
            max: *last,
        })
    }
}
