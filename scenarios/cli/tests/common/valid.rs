//! Whether a JSON value is what a published schema says. It knows the keywords that our schemas use,
//! and takes any other one for a mistake, so that nothing in a schema goes unheeded. A key that the
//! schema does not name is a mistake too: readers may meet one, and our own writer may not write it.

use serde_json::Value;

/// Everything in which `value` departs from `schema`.
pub(crate) fn problems(schema: &str, value: &Value) -> Vec<String> {
    let root: Value = serde_json::from_str(schema).unwrap();
    let mut found = Vec::new();
    look(&root, &root, value, "", &mut found);
    found
}

fn look(root: &Value, schema: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
    let Some(keywords) = schema.as_object() else {
        // `true` takes anything.
        assert_eq!(schema, true, "{path}");
        return;
    };
    let before = found.len();
    for (keyword, wanted) in keywords {
        let holds = match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" | "default" | "format" => true,
            "$ref" => {
                let name = wanted.as_str().unwrap().trim_start_matches('#');
                look(root, root.pointer(name).unwrap(), value, path, found);
                true
            }
            "type" => match wanted {
                Value::Array(any) => any.iter().any(|one| is(value, one)),
                one => is(value, one),
            },
            "const" => value == wanted,
            "enum" => wanted.as_array().unwrap().contains(value),
            "minimum" => value.is_null() || number(value) >= number(wanted),
            "maximum" => value.is_null() || number(value) <= number(wanted),
            "pattern" => value.is_null() || matches(wanted.as_str().unwrap(), value),
            "anyOf" => how_many(root, wanted, value, path) > 0,
            "oneOf" => how_many(root, wanted, value, path) == 1,
            "required" => {
                let mut keys = wanted.as_array().unwrap().iter();
                keys.all(|key| value.get(key.as_str().unwrap()).is_some())
            }
            "properties" => {
                for (key, inner) in value.as_object().into_iter().flatten() {
                    let path = format!("{path}/{key}");
                    match wanted.get(key).or(keywords.get("additionalProperties")) {
                        None | Some(Value::Bool(false)) => {
                            found.push(format!("{path} is not in the schema"));
                        }
                        Some(of) => look(root, of, inner, &path, found),
                    }
                }
                true
            }
            // Beside `properties` it is heeded there.
            "additionalProperties" if keywords.contains_key("properties") => true,
            "additionalProperties" => {
                for (key, inner) in value.as_object().into_iter().flatten() {
                    look(root, wanted, inner, &format!("{path}/{key}"), found);
                }
                true
            }
            "minItems" => items(value).is_none_or(|items| items >= number(wanted)),
            "maxItems" => items(value).is_none_or(|items| items <= number(wanted)),
            "items" => {
                for (at, inner) in value.as_array().into_iter().flatten().enumerate() {
                    look(root, wanted, inner, &format!("{path}/{at}"), found);
                }
                true
            }
            other => {
                found.push(format!("{path}: the keyword {other} is not known here"));
                true
            }
        };
        if !holds && found.len() == before {
            found.push(format!("{path}: {value} breaks {keyword}: {wanted}"));
        }
    }
}

fn how_many(root: &Value, schemas: &Value, value: &Value, path: &str) -> usize {
    let all = schemas.as_array().unwrap().iter();
    all.filter(|one| {
        let mut found = Vec::new();
        look(root, one, value, path, &mut found);
        found.is_empty()
    })
    .count()
}

fn is(value: &Value, kind: &Value) -> bool {
    match kind.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("the type {other} is not known here"),
    }
}

/// How many items a list has; `None` of what is no list.
fn items(value: &Value) -> Option<Option<i128>> {
    Some(i128::try_from(value.as_array()?.len()).ok())
}

/// `None` of what is no number: it is below every minimum, and `type` says what it is.
fn number(value: &Value) -> Option<i128> {
    let signed = value.as_i64().map(i128::from);
    signed.or(value.as_u64().map(i128::from))
}

/// Patterns of the form `^[class]{least,most}$` or `^[class]{n}$`, which are all that we use.
fn matches(pattern: &str, value: &Value) -> bool {
    let inner = pattern
        .strip_prefix("^[")
        .and_then(|p| p.strip_suffix("}$"));
    let (class, times) = inner.and_then(|inner| inner.split_once("]{")).unwrap();
    let (least, most) = times.split_once(',').unwrap_or((times, times));
    let allowed = match class {
        "0-9" => |c: char| c.is_ascii_digit(),
        "0-9a-f" => |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c),
        other => panic!("the class {other} is not known here"),
    };
    value.as_str().is_some_and(|text| {
        (least.parse().unwrap()..=most.parse().unwrap()).contains(&text.len())
            && text.chars().all(allowed)
    })
}
