//! For tests: whether a text is what its published schema says, and the schema of a record that is
//! not sealed.

#[path = "../../../scenarios/cli/tests/common/valid.rs"]
mod valid;

/// The schema of a record without a digest.
pub(crate) fn generated_plain<T: schemars::JsonSchema>(title: &str) -> String {
    let mut schema = schemars::schema_for!(T);
    schema.insert("title".into(), title.into());
    let mut text = serde_json::to_string_pretty(&schema).unwrap();
    text.push('\n');
    text
}

/// Holds a text to a schema; and a key that is left out, or of another type, must break it.
pub(crate) fn holds(schema: &str, text: &str) {
    let value: serde_json::Value = serde_json::from_str(text).unwrap();
    assert_eq!(valid::problems(schema, &value), Vec::<String>::new());
    for key in ["schema_version", "exit_code", "reasons"] {
        let mut without = value.clone();
        without.as_object_mut().unwrap().remove(key).unwrap();
        assert!(
            !valid::problems(schema, &without).is_empty(),
            "without {key}"
        );
        let mut other = value.clone();
        other[key] = serde_json::json!({ "no": "such" });
        assert!(!valid::problems(schema, &other).is_empty(), "another {key}");
    }
}
