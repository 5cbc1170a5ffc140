//! Misbehaviour, on order: what a store does wrong because it was told to.
//!
//! Orders come by `GET /fault?…` at a part's HTTP server and hold until they are used up or changed.
//!
//! | part | query | what it does |
//! |---|---|---|
//! | both | `clear=1` | forgets all orders |
//! | both | `method=M&class=C&message=T` | calls of M throw the Java class C |
//! | both | `method=M&do=hang_up` | calls of M get no answer: the connection ends |
//! | both | `method=M&do=half` | M is done, but only half of the answer is sent |
//! | both | `method=M&do=stall&ms=N` | calls of M are held for N milliseconds first |
//! | NameNode | `safe_mode=on`, `=off` | safe mode |
//! | DataNode | `acks=stall`, `=flow` | packets are stored, and not acknowledged |
//! | DataNode | `set_up=refuse`, `=accept` | new pipelines are refused |
//! | DataNode | `packets=reset`, `=flow` | the next packet of each pipeline ends its connection |
//!
//! `skip=N` (default 0) lets N calls of a method through first, `times=N` (default 1) says how many
//! are spoilt after that.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::ipc::Exception;
use crate::lock;

/// What becomes of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    Throw(Exception),
    HangUp,
    Half,
    Stall(Duration),
}

#[derive(Debug)]
struct CallOrder {
    method: String,
    skip: u32,
    times: u32,
    deed: Deed,
}

/// The orders of one part.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    calls: Mutex<Vec<CallOrder>>,
    pub(crate) safe_mode: AtomicBool,
    pub(crate) stall_acks: AtomicBool,
    pub(crate) refuse_set_up: AtomicBool,
    pub(crate) reset_packets: AtomicBool,
}

impl Orders {
    /// What is to become of this call, if anything special.
    pub(crate) fn on_call(&self, method: &str) -> Option<Deed> {
        let mut calls = lock(&self.calls);
        let order = calls.iter_mut().find(|order| order.method == method)?;
        if order.skip > 0 {
            order.skip -= 1;
            return None;
        }
        order.times -= 1;
        let deed = order.deed.clone();
        calls.retain(|order| order.times > 0);
        Some(deed)
    }

    /// Takes an order; says what is wrong with it otherwise.
    pub(crate) fn take(&self, query: &HashMap<String, String>) -> Result<(), String> {
        let switches = [
            ("safe_mode", "on", "off", &self.safe_mode),
            ("acks", "stall", "flow", &self.stall_acks),
            ("set_up", "refuse", "accept", &self.refuse_set_up),
            ("packets", "reset", "flow", &self.reset_packets),
        ];
        let mut understood = false;
        if query.contains_key("clear") {
            lock(&self.calls).clear();
            switches
                .iter()
                .for_each(|(.., switch)| switch.store(false, Ordering::Release));
            understood = true;
        }
        for (key, on, off, switch) in switches {
            let Some(value) = query.get(key) else {
                continue;
            };
            if value != on && value != off {
                return Err(format!("{key} is {on} or {off}, not {value:?}"));
            }
            switch.store(value == on, Ordering::Release);
            understood = true;
        }
        if let Some(method) = query.get("method") {
            lock(&self.calls).push(call_order(method, query)?);
            understood = true;
        }
        if understood {
            Ok(())
        } else {
            Err("no order was given".to_owned())
        }
    }
}

fn call_order(method: &str, query: &HashMap<String, String>) -> Result<CallOrder, String> {
    let number = |key: &str, default: u32| match query.get(key) {
        None => Ok(default),
        Some(text) => text
            .parse()
            .map_err(|_| format!("{key} is a number, not {text:?}")),
    };
    let deed = match (query.get("do").map(String::as_str), query.get("class")) {
        (None, Some(class)) => Deed::Throw(Exception::new(
            class,
            query.get("message").cloned().unwrap_or_default(),
        )),
        (Some("hang_up"), None) => Deed::HangUp,
        (Some("half"), None) => Deed::Half,
        (Some("stall"), None) => Deed::Stall(Duration::from_millis(number("ms", 1_000)?.into())),
        _ => {
            return Err(
                "an order for a method needs class, or do = hang_up, half or stall".to_owned(),
            );
        }
    };
    Ok(CallOrder {
        method: method.to_owned(),
        skip: number("skip", 0)?,
        times: number("times", 1)?.max(1),
        deed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> HashMap<String, String> {
        text.split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    #[test]
    fn the_nth_call_and_no_other() {
        let orders = Orders::default();
        orders
            .take(&query("method=addBlock&class=X&message=no&skip=1&times=2"))
            .unwrap();
        let thrown = Some(Deed::Throw(Exception::new("X", "no")));
        assert_eq!(orders.on_call("create"), None);
        let seen: Vec<_> = (0..4).map(|_| orders.on_call("addBlock")).collect();
        assert_eq!(seen, [None, thrown.clone(), thrown, None]);
    }

    #[test]
    fn switches_and_nonsense() {
        let orders = Orders::default();
        orders.take(&query("acks=stall&set_up=refuse")).unwrap();
        assert!(
            orders.stall_acks.load(Ordering::Acquire)
                && orders.refuse_set_up.load(Ordering::Acquire)
        );
        orders.take(&query("clear=1")).unwrap();
        assert!(
            !orders.stall_acks.load(Ordering::Acquire)
                && !orders.refuse_set_up.load(Ordering::Acquire)
        );
        assert!(
            orders
                .take(&query("acks=perhaps"))
                .unwrap_err()
                .contains("stall or flow")
        );
        assert!(orders.take(&query("weather=bad")).is_err());
        assert!(orders.take(&query("method=create&do=dance")).is_err());
        assert!(
            orders
                .take(&query("method=create&do=stall&ms=soon"))
                .is_err()
        );
    }
}
