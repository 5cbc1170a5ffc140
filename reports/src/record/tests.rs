//! What holds for the record as a whole.

use serde_json::Value;

use super::*;

fn generated_schema() -> String {
    schema::generated::<RunRecord>("flume-bench run record, schema_version 1")
}

#[test]
fn the_published_schema_is_that_of_the_types() {
    schema::is_published("run-record.v1.json", &generated_schema());
}

#[test]
fn there_is_no_floating_point_number_in_a_record() {
    fn look(value: &Value, path: &str) {
        match value {
            Value::Number(number) => assert!(!number.is_f64(), "{path} is {number}"),
            Value::Array(items) => items.iter().for_each(|item| look(item, path)),
            Value::Object(object) => {
                object
                    .iter()
                    .for_each(|(key, value)| look(value, &format!("{path}.{key}")));
            }
            _ => {}
        }
    }
    look(&serde_json::to_value(RunRecord::default()).unwrap(), "");
    assert!(!generated_schema().contains("\"format\": \"double\""));
}

#[test]
fn an_empty_record_claims_nothing() {
    let record = RunRecord::default();
    assert_eq!(record.verdict, Verdict::Inconclusive);
    assert_eq!(record.counts.stranded.reason(), Some("not recorded"));
    assert_eq!(read_str(&to_text(&record).unwrap()).unwrap(), record);
}

#[test]
fn the_worked_example_is_exact() {
    // 1000 events read, 950 delivered, 2 hours.
    let counts = Counts {
        issued: 1_000,
        acked: Known::Value(1_000),
        owed: 1_000,
        stored: 950,
        published: 950,
        lost: 50,
        ..Counts::default()
    };
    let wall = Known::Value(2 * 3_600 * 1_000_000);
    let bytes = Bytes {
        stored_bytes: Known::Value(950 * 480),
        ..Bytes::default()
    };
    let indicators = Indicators::from_counts(&counts, &bytes, &wall, SystemLoad::default());
    let record = RunRecord {
        counts,
        bytes,
        indicators,
        ..RunRecord::default()
    };

    let read = read_str(&to_text(&record).unwrap()).unwrap().indicators;
    assert_eq!(read.transfer_success_stored.percent(), "95 %");
    assert_eq!(read.data_loss.percent(), "5 %");
    // 7,200 s ÷ 1,000 events = 7.2 s = 0.002 h an event, exactly.
    let delay = *read.transfer_delay_us.value().unwrap();
    assert_eq!(delay.part * 1_000, delay.whole * 2 * 3_600_000_000);
}
