//! What the file means: defaults filled in, values read. How the tables fit together is for
//! [`super::checks`].

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZero;
use std::path::{Component, Path, PathBuf};
use std::thread::available_parallelism;
use std::time::Duration;

use toml::Spanned;

use crate::cert::{Order, UnknownName};
use crate::config::checks;
use crate::config::file::{File, Table};
use crate::config::sections::{
    ADMIN, CERTIFICATES, LIMITS, LISTENER, LOG, METRICS, ROUTE, RUNTIME, SERVER, TLS, UPSTREAM,
};
use crate::config::tables::{ListenerTable, MetricsTable, RouteTable, Tables, UpstreamTable};
use crate::config::value::{self, Choice};
use crate::config::{
    Admin, Certificates, Config, Limits, Log, LogFormat, Tls, TlsVersion, TrustSource,
};

const ORDERS: Choice<Order> = Choice {
    words: &[("kerio", Order::Kerio), ("safe", Order::Safe)],
    later: &[],
};
pub(super) const UNKNOWN_NAMES: Choice<UnknownName> = Choice {
    words: &[
        ("default", UnknownName::Default),
        ("reject", UnknownName::Reject),
    ],
    later: &[],
};
/// What a list of trust consists of.
pub(super) const TRUST: &str = "\"system\", \"mozilla\" or PEM files";
const LOG_FORMATS: Choice<LogFormat> = Choice {
    words: &[("text", LogFormat::Text), ("json", LogFormat::Json)],
    later: &[],
};
const TLS_VERSIONS: Choice<TlsVersion> = Choice {
    words: &[("1.2", TlsVersion::V1_2), ("1.3", TlsVersion::V1_3)],
    later: &[],
};

/// The whole configuration; `None` only if an error was reported.
pub(super) fn resolve(file: &File<'_>, path: &Path) -> Option<Config> {
    let base = base(path);
    let certificates = file.table(&CERTIFICATES);
    let certificates = read_certificates(&certificates, base);
    let metrics = file.table(&METRICS);
    file.table(&SERVER);
    let tables = Tables {
        metrics: MetricsTable {
            listen: metrics_address(&metrics),
            table: metrics,
        },
        listeners: each(file.tables(&LISTENER), |table| {
            ListenerTable::read(table, certificates.unknown_name)
        }),
        routes: each(file.tables(&ROUTE), RouteTable::read),
        upstreams: each(file.tables(&UPSTREAM), |table| {
            UpstreamTable::read(table, base)
        }),
    };
    let config = Config {
        path: path.to_owned(),
        certificates,
        threads: threads(&file.table(&RUNTIME)),
        admin: admin(&file.table(&ADMIN), base),
        metrics: tables.metrics.listen,
        log: log(&file.table(&LOG)),
        limits: limits(&file.table(&LIMITS)),
        tls: tls(&file.table(&TLS)),
        listeners: Vec::new(),
        routes: Vec::new(),
        upstreams: Vec::new(),
    };
    checks::check(&tables, file.report());
    tables.join(config)
}

/// The folder that paths in the file are relative to.
fn base(path: &Path) -> &Path {
    path.parent().unwrap_or_else(|| Path::new(""))
}

/// `[admin] socket` alone.
pub(super) fn admin_socket(file: &File<'_>, path: &Path) -> PathBuf {
    admin(&file.table(&ADMIN), base(path)).socket
}

fn each<'a, T>(tables: Vec<Table<'a>>, read: impl Fn(Table<'a>) -> T) -> Vec<T> {
    tables.into_iter().map(read).collect()
}

fn read_certificates(table: &Table<'_>, base: &Path) -> Certificates {
    let trust = table.list("trust", TRUST, value::trust_source(base));
    if trust.as_ref().is_some_and(Vec::is_empty) && table.is_empty_list("trust") {
        let message =
            "`trust` is empty: only certificates under `trust/` in the folder are trusted";
        table.warning(table.at_value("trust"), message);
    }
    let directory = table
        .value("directory", value::path(base))
        .unwrap_or_else(|| base.join("sslcert"));
    Certificates {
        also: also(table, base, &directory),
        directory,
        order: table
            .value("order", |value| ORDERS.read(value))
            .unwrap_or_default(),
        trust: trust.map_or_else(|| vec![TrustSource::System], unlocated),
        unknown_name: table
            .value("unknown_name", |value| UNKNOWN_NAMES.read(value))
            .unwrap_or_default(),
    }
}

/// The same for `sslcert` and `./sslcert`.
fn plain(path: &Path) -> impl Iterator<Item = Component<'_>> {
    path.components().filter(|part| *part != Component::CurDir)
}

/// Folders whose certificates are called `FOLDER/NAME`: so no two may be called the same.
fn also(table: &Table<'_>, base: &Path, directory: &Path) -> Vec<PathBuf> {
    let folders = table.list("also", "folders", value::named_folder(base));
    let mut taken: Vec<PathBuf> = Vec::new();
    for folder in folders.unwrap_or_default() {
        let (at, folder) = (folder.span().start, folder.into_inner());
        let same_name = taken
            .iter()
            .find(|other| other.file_name() == folder.file_name());
        if plain(&folder).eq(plain(directory)) {
            let message = "`also` holds the folder of `directory`, which is read already";
            table.error(at, message);
        } else if let Some(other) = same_name {
            let (other, folder) = (other.display(), folder.display());
            let message = format!(
                "`also` holds {other} and {folder}, whose certificates would be called the same: give one of them another name by a symbolic link"
            );
            table.error(at, message);
        } else {
            taken.push(folder);
        }
    }
    taken
}

pub(super) fn unlocated<T>(located: Vec<Spanned<T>>) -> Vec<T> {
    located.into_iter().map(Spanned::into_inner).collect()
}

fn threads(table: &Table<'_>) -> usize {
    match table.value("threads", value::count(0..=1024)) {
        Some(threads) if threads > 0 => threads,
        _ => available_parallelism().map_or(1, NonZero::get),
    }
}

fn admin(table: &Table<'_>, base: &Path) -> Admin {
    const WRITABLE_BY_ALL: u32 = 0o002;
    let mode = table.value("mode", value::mode).unwrap_or(0o600);
    if mode & WRITABLE_BY_ALL != 0 {
        let message = format!("`mode` {mode:04o} lets every user of this host manage the proxy");
        table.warning(table.at_value("mode"), message);
    }
    Admin {
        socket: table
            .value("socket", value::path(base))
            .unwrap_or_else(|| base.join("gatepost.sock")),
        mode,
    }
}

fn metrics_address(table: &Table<'_>) -> SocketAddr {
    table
        .value("listen", value::bind_address)
        .unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 9445)))
}

fn log(table: &Table<'_>) -> Log {
    Log {
        level: table
            .value("level", value::log_filter)
            .unwrap_or_else(|| "info".to_owned()),
        format: table
            .value("format", |value| LOG_FORMATS.read(value))
            .unwrap_or(LogFormat::Text),
        access: table.value("access", value::boolean).unwrap_or(true),
    }
}

fn limits(table: &Table<'_>) -> Limits {
    Limits {
        connections: table
            .value("connections", value::count(0..=usize::MAX))
            .unwrap_or(0),
        connections_per_client: table
            .value("connections_per_client", value::count(1..=usize::MAX))
            .unwrap_or(2000),
        handshake_timeout: table
            .value("handshake_timeout", value::time_limit)
            .unwrap_or(Duration::from_secs(10)),
        preamble_timeout: table
            .value("preamble_timeout", value::time_limit)
            .unwrap_or(Duration::from_secs(60)),
        drain_timeout: table
            .value("drain_timeout", value::duration)
            .unwrap_or(Duration::from_secs(30)),
    }
}

fn tls(table: &Table<'_>) -> Tls {
    Tls {
        min_version: table
            .value("min_version", |value| TLS_VERSIONS.read(value))
            .unwrap_or(TlsVersion::V1_2),
        post_quantum: table.value("post_quantum", value::boolean).unwrap_or(true),
    }
}

#[cfg(test)]
mod tests;
