//! `static`: gives each event a header with a fixed value.
//!
//! | key | default | meaning |
//! |---|---|---|
//! | `key` | `key` | the header |
//! | `value` | `value` | its value |
//! | `preserveExisting` | true | events that have the header keep theirs |
//!
//! The header is stored once per batch.

use super::{BoxInterceptor, Interceptor};
use crate::context::{ConfigError, Context};
use crate::event::{Batch, TooLong};
use crate::kind::{Form, Key, Kind};

/// The kind `static`.
pub static KIND: Kind<BoxInterceptor> = Kind {
    name: "static",
    classes: &["org.apache.flume.interceptor.StaticInterceptor$Builder"],
    summary: "Give each event a header with a fixed value.",
    keys: &[
        Key::or("key", Form::Text, "key", "The header."),
        Key::or("value", Form::Text, "value", "Its value."),
        Key::or(
            "preserveExisting",
            Form::Flag,
            "true",
            "Events that have the header keep theirs.",
        ),
    ],
    batch_key: None,
    example: "type = static\nkey = datacentre\nvalue = north",
    build,
};

fn build(ctx: &Context) -> Result<BoxInterceptor, ConfigError> {
    Ok(Box::new(Static {
        key: ctx.text_or("key", "key").to_owned(),
        value: ctx.text_or("value", "value").to_owned(),
        preserve_existing: ctx.flag("preserveExisting", true),
    }))
}

#[derive(Debug)]
struct Static {
    key: String,
    value: String,
    preserve_existing: bool,
}

impl Interceptor for Static {
    fn intercept(&self, batch: &mut Batch) -> Result<(), TooLong> {
        batch.set_common_header(&self.key, &self.value, self.preserve_existing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::BatchBuilder;

    #[test]
    fn existing_headers_stay_unless_told_otherwise() {
        for (lines, expected) in [("", "own"), ("preserveExisting = false", "north")] {
            let ctx = Context::from_example("i1", &format!("key = dc\nvalue = north\n{lines}"));
            let mut builder = BatchBuilder::new();
            builder.push([("dc", "own")], b"").unwrap();
            builder.push([], b"").unwrap();
            let mut batch = builder.finish();
            (KIND.build)(&ctx).unwrap().intercept(&mut batch).unwrap();
            let values: Vec<_> = batch.iter().map(|event| event.header("dc")).collect();
            assert_eq!(values, [Some(expected), Some("north")]);
        }
    }
}
