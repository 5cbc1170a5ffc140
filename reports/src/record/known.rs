//! Values that say why they are missing, exact ratios, and 64-bit numbers as text.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A value, or the reason why nobody could know it.
///
/// In JSON `{"value": 17}` or `{"value": null, "reason": "no reader for this channel exists"}`.
/// A null without a reason is refused. What does not *apply* (a kill has no end) is an absent key,
/// not an unknown value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known<T> {
    /// The value.
    Value(T),
    /// Why there is none; a sentence fragment for the report.
    Unknown(String),
}

impl<T> Known<T> {
    /// An unknown value with its reason.
    pub fn unknown(reason: impl Into<String>) -> Self {
        Self::Unknown(reason.into())
    }

    /// The value, if there is one.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Unknown(_) => None,
        }
    }

    /// The reason, if there is no value.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Value(_) => None,
            Self::Unknown(reason) => Some(reason),
        }
    }

    /// The same with the value changed by `f`.
    pub fn map<U>(&self, f: impl FnOnce(&T) -> U) -> Known<U> {
        match self {
            Self::Value(value) => Known::Value(f(value)),
            Self::Unknown(reason) => Known::Unknown(reason.clone()),
        }
    }
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self::unknown("not recorded")
    }
}

impl<T> From<T> for Known<T> {
    fn from(value: T) -> Self {
        Self::Value(value)
    }
}

/// The shape of [`Known`] in JSON.
#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Shape<T> {
    value: Option<T>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl<T: Serialize> Serialize for Known<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let shape = match self {
            Self::Value(value) => Shape {
                value: Some(value),
                reason: None,
            },
            Self::Unknown(reason) => Shape {
                value: None,
                reason: Some(reason.clone()),
            },
        };
        shape.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Known<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let shape = Shape::<T>::deserialize(deserializer)?;
        match (shape.value, shape.reason) {
            (Some(value), _) => Ok(Self::Value(value)),
            (None, Some(reason)) if !reason.is_empty() => Ok(Self::Unknown(reason)),
            (None, _) => Err(de::Error::custom("a null value needs a reason beside it")),
        }
    }
}

/// A count that cannot be known in every run: in JSON a plain number where it is known, and
/// `{"value": null, "reason": "…"}` where it is not. It was a plain number first, so a program that reads
/// one goes on to do so wherever there is one.
pub(super) mod count {
    use std::fmt;

    use serde::de::value::MapAccessDeserializer;
    use serde::de::{Deserializer, Error, MapAccess, Visitor};
    use serde::{Deserialize, Serialize, Serializer};

    use super::Known;

    pub(in super::super) fn serialize<S: Serializer>(
        count: &Known<u64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match count {
            Known::Value(count) => serializer.serialize_u64(*count),
            Known::Unknown(_) => count.serialize(serializer),
        }
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Known<u64>, D::Error> {
        deserializer.deserialize_any(Either)
    }

    /// Reads both forms.
    struct Either;

    impl<'de> Visitor<'de> for Either {
        type Value = Known<u64>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a count, or null with a reason")
        }

        fn visit_u64<E: Error>(self, count: u64) -> Result<Self::Value, E> {
            Ok(Known::Value(count))
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            Known::deserialize(MapAccessDeserializer::new(map))
        }
    }
}

/// A 64-bit id or seed. In JSON it is decimal text, because many readers keep numbers as doubles
/// and would silently change everything above 2⁵³.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Text64(pub u64);

impl From<u64> for Text64 {
    fn from(value: u64) -> Self {
        Self(value)
    }
}

impl fmt::Display for Text64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Text64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Text64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse()
            .map(Self)
            .map_err(|_| de::Error::custom(format!("{text:?} is no 64-bit number as text")))
    }
}

/// An exact ratio. Both numbers are kept; percentages exist only in renderings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Ratio {
    /// The part, or what is divided.
    pub part: u64,
    /// The whole, or what it is divided by. 0 means that the ratio does not exist.
    pub whole: u64,
}

impl Ratio {
    /// `part ÷ whole`.
    #[must_use]
    pub fn new(part: u64, whole: u64) -> Self {
        Self { part, whole }
    }

    /// As a floating-point number, for plots and rates; `None` when the whole is 0.
    #[must_use]
    pub fn as_f64(self) -> Option<f64> {
        (self.whole > 0).then(|| self.part as f64 / self.whole as f64)
    }

    /// As a percentage that never hides the remainder: all but one of a billion is 99.9999999 %,
    /// not 100 %, and one of a billion is 0.0000001 %, not 0 %. `-` when the whole is 0.
    #[must_use]
    pub fn percent(self) -> String {
        if self.whole == 0 {
            return "-".to_owned();
        }
        let (part, whole) = (u128::from(self.part), u128::from(self.whole));
        let whole_percent = part * 100 / whole;
        let rest = part * 100 % whole;
        if rest == 0 {
            return format!("{whole_percent} %");
        }
        // 2⁶⁴ × 10¹⁸ is below 2¹²⁸, so nothing here can overflow.
        let nearest = |digits: u32| (rest * 10_u128.pow(digits) + whole / 2) / whole;
        let differs = |digits: &u32| (1..10_u128.pow(*digits)).contains(&nearest(*digits));
        // Two digits do, unless it takes more to differ from both whole neighbours; then two
        // beyond the first that differs.
        let digits = match (2..=18).find(differs) {
            Some(2) => 2,
            Some(more) => (more + 2).min(18),
            None => 18,
        };
        let fraction = nearest(digits).clamp(1, 10_u128.pow(digits) - 1);
        let fraction = format!("{:0width$}", fraction, width = digits as usize);
        let shown = fraction.trim_end_matches('0');
        format!("{whole_percent}.{shown} %")
    }
}

/// A list that may have been cut: a run that lost every second event has more ranges than anybody
/// reads. The counts of the record are never cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Listed<T> {
    /// The entries that are listed.
    pub items: Vec<T>,
    /// How many more there were.
    pub not_listed: u64,
}

impl<T> Listed<T> {
    /// At most `limit` of the entries, and the number of the others.
    pub fn first(entries: impl IntoIterator<Item = T>, limit: usize) -> Self {
        let mut entries = entries.into_iter();
        let items: Vec<T> = entries.by_ref().take(limit).collect();
        Self {
            items,
            not_listed: entries.count() as u64,
        }
    }

    /// Whether there was nothing to list.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty() && self.not_listed == 0
    }
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            not_listed: 0,
        }
    }
}

impl<T> From<Vec<T>> for Listed<T> {
    fn from(items: Vec<T>) -> Self {
        Self {
            items,
            not_listed: 0,
        }
    }
}

/// A number with its unit, for objectives: the unit decides how it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Quantity {
    /// The number.
    pub value: u64,
    /// `us`, `bytes`, `events`, `events_per_s` or `ppm`; others are shown as they stand.
    pub unit: String,
}

impl Quantity {
    /// A number and its unit.
    pub fn new(value: u64, unit: impl Into<String>) -> Self {
        Self {
            value,
            unit: unit.into(),
        }
    }
}

#[cfg(test)]
pub(super) mod schema {
    //! Schemas of the types that write themselves; the rest derives its own.

    use super::{Known, Shape, Text64};
    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
    use std::borrow::Cow;

    /// What [`super::count`] writes.
    pub(in super::super) fn count(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                generator.subschema_for::<u64>(),
                generator.subschema_for::<Known<u64>>(),
            ],
        })
    }

    impl<T: JsonSchema> JsonSchema for Known<T> {
        fn schema_name() -> Cow<'static, str> {
            format!("Known_{}", T::schema_name()).into()
        }

        fn json_schema(generator: &mut SchemaGenerator) -> Schema {
            Shape::<T>::json_schema(generator)
        }
    }

    impl JsonSchema for Text64 {
        fn schema_name() -> Cow<'static, str> {
            "Text64".into()
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            json_schema!({ "type": "string", "pattern": "^[0-9]{1,20}$" })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_null_needs_a_reason() {
        assert!(serde_json::from_str::<Known<u64>>(r#"{"value":null}"#).is_err());
        assert!(serde_json::from_str::<Known<u64>>(r#"{"value":null,"reason":""}"#).is_err());
        let unknown: Known<u64> = Known::unknown("nobody looked");
        let text = serde_json::to_string(&unknown).unwrap();
        assert_eq!(text, r#"{"value":null,"reason":"nobody looked"}"#);
        assert_eq!(serde_json::from_str::<Known<u64>>(&text).unwrap(), unknown);
        assert_eq!(
            serde_json::to_string(&Known::Value(17)).unwrap(),
            r#"{"value":17}"#
        );
    }

    #[test]
    fn large_ids_survive_as_text() {
        let text = serde_json::to_string(&Text64(u64::MAX)).unwrap();
        assert_eq!(text, "\"18446744073709551615\"");
        assert_eq!(
            serde_json::from_str::<Text64>(&text).unwrap(),
            Text64(u64::MAX)
        );
        assert!(serde_json::from_str::<Text64>("17").is_err());
    }

    #[test]
    fn percentages_do_not_round_a_remainder_away() {
        assert_eq!(Ratio::new(950, 1000).percent(), "95 %");
        assert_eq!(Ratio::new(1, 3).percent(), "33.33 %");
        assert_eq!(
            Ratio::new(999_999_999, 1_000_000_000).percent(),
            "99.9999999 %"
        );
        assert_eq!(Ratio::new(1, 1_000_000_000).percent(), "0.0000001 %");
        assert_eq!(
            Ratio::new(u64::MAX - 1, u64::MAX).percent().chars().next(),
            Some('9')
        );
        assert_eq!(Ratio::new(7, 0).percent(), "-");
        assert_eq!(Ratio::new(0, 7).percent(), "0 %");
    }

    proptest! {
        #[test]
        fn only_all_is_a_hundred_and_only_none_is_zero(part in 0_u64.., whole in 1_u64..) {
            let part = part % (whole + u64::from(whole < u64::MAX));
            let shown = Ratio::new(part, whole).percent();
            prop_assert_eq!(shown == "100 %", part == whole);
            prop_assert_eq!(shown == "0 %", part == 0);
        }
    }

    #[test]
    fn a_cut_list_says_how_much_is_missing() {
        let listed = Listed::first(0..10, 3);
        assert_eq!((listed.items, listed.not_listed), (vec![0, 1, 2], 7));
    }
}
