//! For tests: the published schema of a sealed record, made from its types.

use serde_json::Value;

/// Writes the schemas anew where this variable is set: `UPDATE_SCHEMA=1 cargo test -p
/// flume-bench-reports schema`.
const UPDATE: &str = "UPDATE_SCHEMA";

/// The schema of a record, with the digest that sealing adds.
pub(crate) fn generated<T: schemars::JsonSchema>(title: &str) -> String {
    let mut schema = schemars::schema_for!(T);
    schema.insert("title".into(), title.into());
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        let digest = serde_json::json!({
            "type": "string",
            "pattern": "^[0-9a-f]{64}$",
            "description": "SHA-256 of the canonical form of all other keys.",
        });
        properties.insert("content_sha256".into(), digest);
    }
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
        required.push("content_sha256".into());
    }
    let mut text = serde_json::to_string_pretty(&schema).unwrap();
    text.push('\n');
    text
}

/// Holds a published file in `schemas/` to what the types give.
pub(crate) fn is_published(file: &str, generated: &str) {
    let path = format!("{}/schemas/{file}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&path, generated).unwrap();
    }
    let published = std::fs::read_to_string(&path).unwrap();
    assert!(
        published == generated,
        "{file} is stale: run this test with {UPDATE}=1 and look at the change"
    );
}
