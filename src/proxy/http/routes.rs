//! From a host and a path to what becomes of the request, on one listener.

use std::sync::Arc;

use hashbrown::HashMap;
use hyper::StatusCode;
use hyper::header::HeaderValue;

use crate::cert::{DnsName, NamePattern};
use crate::metrics::RouteMetrics;
use crate::proxy::Upstream;
use crate::wire::http::is_beneath;

/// Where certificate authorities look for what proves that a host is ours (RFC 8555 section 8.3).
const ACME: &str = "/.well-known/acme-challenge/";

/// The routes of a listener.
#[derive(Debug)]
pub struct Routes {
    exact: HashMap<DnsName, Vec<Arc<Routed>>>,
    /// By what stands right of the star.
    wildcard: HashMap<Box<str>, Vec<Arc<Routed>>>,
    /// What takes the requests that no route takes.
    default: Option<Arc<Routed>>,
    /// Counts the requests that nothing takes.
    pub(super) unrouted: Arc<RouteMetrics>,
}

/// One route.
#[derive(Debug)]
pub(super) struct Routed {
    path: Box<str>,
    pub(super) action: Action,
    /// The value of Strict-Transport-Security.
    pub(super) hsts: Option<HeaderValue>,
    pub(super) metrics: Arc<RouteMetrics>,
}

/// What becomes of a request.
#[derive(Clone, Debug)]
pub enum Action {
    /// It goes to this upstream.
    Upstream(Arc<Upstream>),
    /// It is sent to the same place by TLS; the port there.
    Redirect(u16),
    /// It is answered with this status.
    Respond(StatusCode),
}

impl Routes {
    /// Routes of which there are none yet. `default` takes what no route takes; `unrouted` counts
    /// what nothing takes.
    pub fn new(
        default: Option<(Arc<Upstream>, Arc<RouteMetrics>)>,
        unrouted: Arc<RouteMetrics>,
    ) -> Self {
        let default = default.map(|(upstream, metrics)| {
            Arc::new(Routed {
                path: "/".into(),
                action: Action::Upstream(upstream),
                hsts: None,
                metrics,
            })
        });
        Self {
            exact: HashMap::new(),
            wildcard: HashMap::new(),
            default,
            unrouted,
        }
    }

    /// Adds a route for what begins with `path`. Of two for the same the first stays.
    pub fn add(
        &mut self,
        patterns: &[NamePattern],
        path: &str,
        action: &Action,
        hsts: Option<std::time::Duration>,
        metrics: &Arc<RouteMetrics>,
    ) {
        let hsts = hsts.map(|hsts| HeaderValue::try_from(format!("max-age={}", hsts.as_secs())));
        let routed = Arc::new(Routed {
            path: path.into(),
            action: action.clone(),
            hsts: hsts.and_then(Result::ok),
            metrics: Arc::clone(metrics),
        });
        for pattern in patterns {
            let routes = match pattern {
                NamePattern::Exact(name) => self.exact.entry(name.clone()).or_default(),
                NamePattern::Wildcard(parent) => {
                    self.wildcard.entry(parent.as_str().into()).or_default()
                }
            };
            routes.push(Arc::clone(&routed));
            // Stable: of two of the same path the first stays first.
            routes.sort_by_key(|route| std::cmp::Reverse(route.path.len()));
        }
    }

    /// Everywhere that they lead, some more than once.
    pub fn upstreams(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        let routed = self.exact.values().chain(self.wildcard.values()).flatten();
        routed
            .chain(&self.default)
            .filter_map(|route| match &route.action {
                Action::Upstream(upstream) => Some(upstream),
                Action::Redirect(_) | Action::Respond(_) => None,
            })
    }

    /// Of the exact routes the one with the longest path, else of the wildcard ones, else the
    /// listener's own upstream. What proves that a host is ours is not redirected.
    pub(super) fn find(&self, name: Option<&DnsName>, path: &str) -> Option<&Arc<Routed>> {
        let proof = path.starts_with(ACME);
        let takes = |route: &&Arc<Routed>| {
            is_beneath(path, &route.path) && !(proof && matches!(route.action, Action::Redirect(_)))
        };
        let exact = || self.exact.get(name?)?.iter().find(takes);
        let wildcard = || self.wildcard.get(name?.parent()?)?.iter().find(takes);
        exact().or_else(wildcard).or(self.default.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    fn add(routes: &mut Routes, name: &str, path: &str, action: &Action) {
        let metrics = Metrics::new("0").route("https", name);
        routes.add(
            &[NamePattern::parse(name).unwrap()],
            path,
            action,
            None,
            &metrics,
        );
    }

    #[test]
    fn exact_before_wildcard_and_the_longest_path_of_each() {
        let mut routes = Routes::new(None, Metrics::new("0").route("https", "none"));
        let respond = |status| Action::Respond(StatusCode::from_u16(status).unwrap());
        for (name, path, status) in [
            ("*.example.com", "/", 201),
            ("*.example.com", "/ews/", 202),
            ("a.example.com", "/ews", 203),
            ("a.example.com", "/ews/deep/", 204),
            ("a.example.com", "/ews", 205),
            ("b.example.com", "/", 206),
        ] {
            add(&mut routes, name, path, &respond(status));
        }
        for (name, path, expected) in [
            ("a.example.com", "/ews", Some(203)),
            ("a.example.com", "/ewsx", Some(203)),
            ("a.example.com", "/ews/", Some(203)),
            ("a.example.com", "/ews/deep/x", Some(204)),
            ("a.example.com", "/", Some(201)),
            ("b.example.com", "/ews/", Some(206)),
            ("c.example.com", "/ews/x", Some(202)),
            ("c.example.com", "/ews", Some(201)),
            ("example.com", "/", None),
        ] {
            let name = DnsName::parse(name).unwrap();
            let found = routes
                .find(Some(&name), path)
                .map(|route| match route.action {
                    Action::Respond(status) => status.as_u16(),
                    _ => 0,
                });
            assert_eq!(found, expected, "{name}{path}");
        }
        assert!(routes.find(None, "/").is_none());
    }

    #[test]
    fn what_proves_that_a_host_is_ours_is_not_redirected() {
        let mut routes = Routes::new(None, Metrics::new("0").route("http", "none"));
        add(&mut routes, "a.example", "/", &Action::Redirect(443));
        let name = DnsName::parse("a.example").unwrap();
        assert!(routes.find(Some(&name), "/").is_some());
        let proof = "/.well-known/acme-challenge/x";
        assert!(routes.find(Some(&name), proof).is_none());
        let gone = Action::Respond(StatusCode::GONE);
        add(&mut routes, "a.example", "/.well-known/", &gone);
        assert!(routes.find(Some(&name), proof).is_some());
    }
}
