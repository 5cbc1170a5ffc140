//! The links of a run by name, each a proxy or several.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::process::Registry;
use crate::proxy::{Link, Proxies, Proxy, ProxySpec, RunOwners};

/// Every link of a run.
#[derive(Debug)]
pub struct Links {
    proxies: Proxies,
    named: Mutex<BTreeMap<String, Link>>,
}

impl Links {
    /// No links yet; the thread that will serve them runs.
    pub fn new(seed: u64, registry: &Registry) -> Result<Self, String> {
        let owners = RunOwners::new(registry.clone(), "generator");
        let proxies =
            Proxies::start(seed, Some(Arc::new(owners))).map_err(|error| error.to_string())?;
        Ok(Self {
            proxies,
            named: Mutex::default(),
        })
    }

    fn named(&self) -> MutexGuard<'_, BTreeMap<String, Link>> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A link with listeners of its own; `listen[i]` leads to `upstream[i]`. Where the first one
    /// came to listen.
    pub fn add(
        &self,
        name: &str,
        listen: &[SocketAddr],
        upstream: &[SocketAddr],
    ) -> Result<SocketAddr, String> {
        let proxies = self.open(name, listen, upstream, false)?;
        let address = proxies
            .first()
            .map(Proxy::address)
            .ok_or_else(|| format!("the link {name} has no address"))?;
        self.named()
            .insert(name.to_owned(), self.proxies.link(name, &proxies, None));
        Ok(address)
    }

    /// The listeners of a node that several peers share: a link from each, told apart by the
    /// process that owns the connecting socket. A node with one peer needs no telling apart.
    pub fn add_shared(
        &self,
        node: &str,
        peers: &[String],
        listen: &[SocketAddr],
        upstream: &[SocketAddr],
    ) -> Result<(), String> {
        let proxies = self.open(&format!("->{node}"), listen, upstream, peers.len() > 1)?;
        for peer in peers {
            let name = format!("{peer}->{node}");
            let owner = Some(peer.as_str()).filter(|_| peers.len() > 1);
            self.named()
                .insert(name.clone(), self.proxies.link(&name, &proxies, owner));
        }
        Ok(())
    }

    fn open(
        &self,
        name: &str,
        listen: &[SocketAddr],
        upstream: &[SocketAddr],
        attribute: bool,
    ) -> Result<Vec<Proxy>, String> {
        let open = |(listen, upstream): (&SocketAddr, &SocketAddr)| {
            let spec = ProxySpec {
                name: name.to_owned(),
                listen: vec![*listen],
                upstream: *upstream,
                attribute,
            };
            self.proxies.open(&spec).map_err(|error| error.to_string())
        };
        listen.iter().zip(upstream).map(open).collect()
    }

    /// A link by its name.
    pub fn get(&self, name: &str) -> Option<Link> {
        self.named().get(name).cloned()
    }

    /// Every link.
    pub fn all(&self) -> Vec<Link> {
        self.named().values().cloned().collect()
    }

    /// Makes every link whole.
    pub fn heal_all(&self) {
        self.proxies.heal_all();
    }
}
