//! `host`: gives each event the address or the name of the machine the agent runs on.
//!
//! | key | default | meaning |
//! |---|---|---|
//! | `hostHeader` | `host` | the header |
//! | `useIP` | true | the address; false: the name |
//! | `preserveExisting` | false | events that have the header keep theirs |
//!
//! Name and address are looked up once, when the interceptor is built. The address is the first one
//! of the machine's name that is not a loopback address, as far as the resolver knows one. If even
//! the name is not known, the interceptor does nothing and says so in the log, as Flume's does.

use std::net::{IpAddr, ToSocketAddrs};

use tracing::warn;

use super::{BoxInterceptor, Interceptor};
use crate::context::{ConfigError, Context};
use crate::event::{Batch, TooLong};
use crate::kind::{Form, Key, Kind};

/// The kind `host`.
pub static KIND: Kind<BoxInterceptor> = Kind {
    name: "host",
    classes: &["org.apache.flume.interceptor.HostInterceptor$Builder"],
    summary: "Give each event the machine's address or name.",
    keys: &[
        Key::or("hostHeader", Form::Text, "host", "The header."),
        Key::or("useIP", Form::Flag, "true", "The address; false: the name."),
        Key::or(
            "preserveExisting",
            Form::Flag,
            "false",
            "Events that have the header keep theirs.",
        ),
    ],
    batch_key: None,
    example: "type = host",
    build,
};

fn build(ctx: &Context) -> Result<BoxInterceptor, ConfigError> {
    let value = value(ctx.flag("useIP", true));
    if value.is_none() {
        warn!(
            interceptor = ctx.name(),
            "the machine's name is not known; no host header is set"
        );
    }
    Ok(Box::new(Host {
        header: ctx.text_or("hostHeader", "host").to_owned(),
        preserve_existing: ctx.flag("preserveExisting", false),
        value,
    }))
}

/// The machine's address, or its name.
fn value(address: bool) -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()?
        .trim()
        .to_owned();
    if !address {
        return Some(name);
    }
    let addresses: Vec<IpAddr> = (name.as_str(), 0)
        .to_socket_addrs()
        .ok()?
        .map(|address| address.ip())
        .collect();
    let outside = addresses.iter().find(|address| !address.is_loopback());
    outside
        .or(addresses.first())
        .map(IpAddr::to_string)
        .or(Some(name))
}

#[derive(Debug)]
struct Host {
    header: String,
    preserve_existing: bool,
    value: Option<String>,
}

impl Interceptor for Host {
    fn intercept(&self, batch: &mut Batch) -> Result<(), TooLong> {
        match &self.value {
            Some(value) => batch.set_common_header(&self.header, value, self.preserve_existing),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::BatchBuilder;

    #[test]
    fn sets_the_header_it_is_told_to() {
        let ctx = Context::from_example("i1", "hostHeader = where\nuseIP = false");
        let mut builder = BatchBuilder::new();
        builder.push([("where", "elsewhere")], b"").unwrap();
        let mut batch = builder.finish();
        (KIND.build)(&ctx).unwrap().intercept(&mut batch).unwrap();
        let name = value(false).expect("Linux tells a machine's name");
        assert_eq!(batch.event(0).unwrap().header("where"), Some(name.as_str()));
    }

    #[test]
    fn without_a_name_there_is_no_header() {
        let host = Host {
            header: "host".to_owned(),
            preserve_existing: false,
            value: None,
        };
        let mut builder = BatchBuilder::new();
        builder.push([], b"").unwrap();
        let mut batch = builder.finish();
        host.intercept(&mut batch).unwrap();
        assert_eq!(batch.event(0).unwrap().header("host"), None);
    }
}
