//! Ports for the servers that a run starts.
//!
//! They lie outside of the kernel's ephemeral range (`net.ipv4.ip_local_port_range`). Inside it, any
//! connection that anybody on the machine opens may be given the port between the look and the
//! server's bind, or while a server that a fault has killed is about to be started again.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Below this, well-known servers listen.
const LOWEST: u16 = 10_000;
/// Fewer ports than this are no range to choose from.
const ENOUGH: u16 = 1_000;
/// The kernel's default, where it does not say.
const EPHEMERAL: (u16, u16) = (32_768, 60_999);

/// The last ports that were given out: the servers they are meant for may not listen yet.
static GIVEN: Mutex<VecDeque<u16>> = Mutex::new(VecDeque::new());
const REMEMBERED: usize = 200;

/// A port of 127.0.0.1 that nobody listens on at this moment.
///
/// # Errors
/// None of many was free.
pub fn free_port() -> io::Result<u16> {
    free_port_on(&[Ipv4Addr::LOCALHOST])
}

/// A port that is free on 127.0.0.1 and on another loopback address at once.
///
/// # Errors
/// None of many was free on both.
pub fn free_port_on_both(other: Ipv4Addr) -> io::Result<u16> {
    free_port_on(&[Ipv4Addr::LOCALHOST, other])
}

fn free_port_on(addresses: &[Ipv4Addr]) -> io::Result<u16> {
    let limits = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let range = outside(ephemeral(limits.as_deref().unwrap_or_default()));
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..1_000 {
        // Which port it is has no influence on the run, so it does not come from the run's seed: two
        // runs with one seed at the same time would otherwise want the same ports.
        let port = rand::random_range(range.clone());
        let is_free = |address: &Ipv4Addr| TcpListener::bind((*address, port)).is_ok();
        if !given.contains(&port) && addresses.iter().all(is_free) {
            given.push_back(port);
            if given.len() > REMEMBERED {
                given.pop_front();
            }
            return Ok(port);
        }
    }
    Err(io::Error::other(format!(
        "no port from {} to {} is free on {addresses:?}; end what listens there",
        range.start,
        range.end - 1
    )))
}

fn ephemeral(text: &str) -> (u16, u16) {
    let mut limits = text.split_whitespace().map(str::parse);
    match (limits.next(), limits.next()) {
        (Some(Ok(from)), Some(Ok(to))) if from <= to => (from, to),
        _ => EPHEMERAL,
    }
}

/// The larger of the ranges below and above the ephemeral one; all there is where that leaves nothing.
fn outside((from, to): (u16, u16)) -> Range<u16> {
    let below = LOWEST..from.max(LOWEST);
    let above = to.saturating_add(1).max(LOWEST)..u16::MAX;
    let widest = if below.len() >= above.len() {
        below
    } else {
        above
    };
    if widest.len() >= usize::from(ENOUGH) {
        widest
    } else {
        LOWEST..u16::MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_lie_where_no_connection_is_given_one() {
        assert_eq!(ephemeral("32768\t60999\n"), (32_768, 60_999));
        assert_eq!(ephemeral(""), EPHEMERAL);
        assert_eq!(ephemeral("9 8"), EPHEMERAL);
        assert_eq!(outside((32_768, 60_999)), 10_000..32_768);
        assert_eq!(outside((12_000, 40_000)), 40_001..65_535);
        assert_eq!(outside((1_024, 65_535)), 10_000..65_535);
    }

    #[test]
    fn no_port_is_given_out_twice_in_a_row() {
        let other = Ipv4Addr::new(127, 0, 0, 101);
        let mut ports: Vec<u16> = (0..50).map(|_| free_port_on_both(other).unwrap()).collect();
        ports.push(free_port().unwrap());
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 51);
    }
}
