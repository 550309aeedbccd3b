//! From a name to an upstream, on one listener.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::cert::{DnsName, NamePattern};
use crate::proxy::Upstream;

/// The routes that hold on one listener.
#[derive(Debug, Default)]
pub struct RouteTable {
    exact: HashMap<DnsName, Arc<Upstream>>,
    /// By what stands right of the star.
    wildcard: HashMap<Box<str>, Arc<Upstream>>,
    /// Where the names go that no route takes.
    default: Option<Arc<Upstream>>,
}

impl RouteTable {
    /// A table that sends everything to `default`, if there is one.
    pub fn new(default: Option<Arc<Upstream>>) -> Self {
        Self {
            default,
            ..Self::default()
        }
    }

    /// Adds a route. Of two for the same pattern the first stays.
    pub fn add(&mut self, pattern: &NamePattern, upstream: &Arc<Upstream>) {
        match pattern {
            NamePattern::Exact(name) => {
                let entry = self.exact.entry(name.clone());
                entry.or_insert_with(|| Arc::clone(upstream));
            }
            NamePattern::Wildcard(parent) => {
                let entry = self.wildcard.entry(parent.as_str().into());
                entry.or_insert_with(|| Arc::clone(upstream));
            }
        }
    }

    /// Everywhere that it leads, some more than once.
    pub fn upstreams(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        let routed = self.exact.values().chain(self.wildcard.values());
        routed.chain(&self.default)
    }

    /// Exact before wildcard before the listener's own upstream.
    pub fn find(&self, name: Option<&DnsName>) -> Option<&Arc<Upstream>> {
        let routed = name.and_then(|name| {
            let exact = self.exact.get(name);
            exact.or_else(|| self.wildcard.get(name.parent()?))
        });
        routed.or(self.default.as_ref())
    }
}
