//! The sections of the file and the keys they hold.

/// One kind of table.
#[derive(Debug)]
pub(super) struct Section {
    /// Its key at the top of the file.
    pub(super) key: &'static str,
    /// As it is written: `[limits]`, `[[listener]]`.
    pub(super) header: &'static str,
    /// Whether it may stand in the file more than once.
    pub(super) repeats: bool,
    /// The keys of this version.
    pub(super) keys: &'static [&'static str],
    /// Those of them that have no default.
    pub(super) required: &'static [&'static str],
    /// Keys of later versions.
    pub(super) later: &'static [&'static str],
}

pub(super) static CERTIFICATES: Section = Section {
    key: "certificates",
    header: "[certificates]",
    repeats: false,
    keys: &["directory", "also", "order", "trust", "unknown_name"],
    required: &[],
    later: &[],
};

pub(super) static RUNTIME: Section = Section {
    key: "runtime",
    header: "[runtime]",
    repeats: false,
    keys: &["threads"],
    required: &[],
    later: &[],
};

pub(super) static ADMIN: Section = Section {
    key: "admin",
    header: "[admin]",
    repeats: false,
    keys: &["socket", "mode"],
    required: &[],
    later: &["web"],
};

pub(super) static METRICS: Section = Section {
    key: "metrics",
    header: "[metrics]",
    repeats: false,
    keys: &["listen"],
    required: &[],
    later: &[],
};

pub(super) static LOG: Section = Section {
    key: "log",
    header: "[log]",
    repeats: false,
    keys: &["level", "format", "access"],
    required: &[],
    later: &[],
};

pub(super) static LIMITS: Section = Section {
    key: "limits",
    header: "[limits]",
    repeats: false,
    keys: &[
        "connections",
        "connections_per_client",
        "handshake_timeout",
        "preamble_timeout",
        "drain_timeout",
    ],
    required: &[],
    later: &[],
};

pub(super) static TLS: Section = Section {
    key: "tls",
    header: "[tls]",
    repeats: false,
    keys: &["min_version", "post_quantum"],
    required: &[],
    later: &[],
};

pub(super) static SERVER: Section = Section {
    key: "server",
    header: "[server]",
    repeats: false,
    keys: &[],
    required: &[],
    later: &["user"],
};

pub(super) static LISTENER: Section = Section {
    key: "listener",
    header: "[[listener]]",
    repeats: true,
    keys: &[
        "name",
        "bind",
        "protocol",
        "tls",
        "hostname",
        "upstream",
        "accept_proxy_from",
        "unknown_name",
        "idle_timeout",
        "legacy",
        "legacy_upstream",
        "mx",
        "trusted_proxies",
        "max_body",
        "allow",
        "deny",
    ],
    required: &["name", "bind", "protocol"],
    later: &[],
};

pub(super) static ROUTE: Section = Section {
    key: "route",
    header: "[[route]]",
    repeats: true,
    keys: &[
        "names",
        "listeners",
        "path",
        "upstream",
        "redirect",
        "respond",
        "hsts",
    ],
    required: &["names"],
    later: &[],
};

pub(super) static UPSTREAM: Section = Section {
    key: "upstream",
    header: "[[upstream]]",
    repeats: true,
    keys: &[
        "name",
        "servers",
        "tls",
        "verify",
        "trust",
        "server_name",
        "pin",
        "client_address",
        "greeting_timeout",
        "balance",
        "health_interval",
        "connect_timeout",
        "host",
        "health_path",
    ],
    required: &["name", "servers"],
    later: &[],
};

/// Every section, in the order of the reference.
pub(super) static SECTIONS: &[&Section] = &[
    &CERTIFICATES,
    &RUNTIME,
    &ADMIN,
    &METRICS,
    &LOG,
    &LIMITS,
    &TLS,
    &SERVER,
    &LISTENER,
    &ROUTE,
    &UPSTREAM,
];

/// Every section of this version, as its header is written, with every key it may hold.
pub fn known_keys() -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
    SECTIONS
        .iter()
        .filter(|section| !section.keys.is_empty())
        .map(|section| (section.header, section.keys))
}
