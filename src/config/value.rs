//! Single values: how each kind is written, and what is said when one is not.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use data_encoding::BASE64;
use toml::de::DeValue;
use tracing_subscriber::EnvFilter;

use crate::cert::{DnsName, NamePattern};
use crate::config::{Network, NetworkError, ServerAddress, TrustSource};
use crate::wire::http;

/// Why a value is not accepted; what was found is not in it.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Another type was expected.
    Type(String),
    /// The type is right; this was expected.
    Value(String),
    /// It belongs to a later version; this one has these.
    Later(String),
}

/// The values of a key that takes one of a few words.
pub(super) struct Choice<T: 'static> {
    /// Words of this version and what they mean.
    pub(super) words: &'static [(&'static str, T)],
    /// Words of later versions.
    pub(super) later: &'static [&'static str],
}

impl<T: Copy> Choice<T> {
    pub(super) fn read(&self, value: &DeValue<'_>) -> Result<T, Refusal> {
        let words: Vec<_> = self.words.iter().map(|(word, _)| *word).collect();
        let expected = format!("one of {}", words.join(", "));
        let Some(text) = value.as_str() else {
            return Err(Refusal::Type(expected));
        };
        if let Some((_, meaning)) = self.words.iter().find(|(word, _)| *word == text) {
            Ok(*meaning)
        } else if self.later.contains(&text) {
            Err(Refusal::Later(words.join(", ")))
        } else {
            Err(Refusal::Value(expected))
        }
    }
}

/// A string that `read` makes something of.
fn text<T>(
    value: &DeValue<'_>,
    expected: &str,
    read: impl FnOnce(&str) -> Option<T>,
) -> Result<T, Refusal> {
    let text = value.as_str();
    let text = text.ok_or_else(|| Refusal::Type(expected.to_owned()))?;
    read(text).ok_or_else(|| Refusal::Value(expected.to_owned()))
}

pub(super) fn boolean(value: &DeValue<'_>) -> Result<bool, Refusal> {
    value
        .as_bool()
        .ok_or_else(|| Refusal::Type("true or false".into()))
}

/// A name of the administrator's choice.
pub(super) fn name(value: &DeValue<'_>) -> Result<String, Refusal> {
    let expected = "a string, not empty and without control characters";
    text(value, expected, |text| {
        let fits = !text.trim().is_empty() && !text.chars().any(char::is_control);
        fits.then(|| text.to_owned())
    })
}

/// A path, relative to `base`.
pub(super) fn path(base: &Path) -> impl Fn(&DeValue<'_>) -> Result<PathBuf, Refusal> {
    move |value| {
        text(value, "a path", |text| {
            (!text.is_empty() && !text.contains('\0')).then(|| base.join(text))
        })
    }
}

/// A folder, relative to `base`, by whose last component things are called.
pub(super) fn named_folder(base: &Path) -> impl Fn(&DeValue<'_>) -> Result<PathBuf, Refusal> {
    let expected = "a folder whose name is letters a to z, digits, \".\", \"_\" and \"-\", not starting with a dot, and neither \"default\" nor \"trust\"";
    move |value| {
        text(value, expected, |text| {
            let folder = base.join(text);
            let name = folder.file_name()?.to_str()?;
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            let taken = name.starts_with('.') || ["default", "trust"].contains(&name);
            let fits = !text.is_empty() && !taken && name.chars().all(allowed);
            fits.then_some(folder)
        })
    }
}

/// A whole number within `range`.
pub(super) fn count(
    range: RangeInclusive<usize>,
) -> impl Fn(&DeValue<'_>) -> Result<usize, Refusal> {
    move |value| {
        let expected = match (range.start(), range.end()) {
            (start, &usize::MAX) => format!("a whole number from {start}"),
            (start, end) => format!("a whole number from {start} to {end}"),
        };
        let Some(integer) = value.as_integer() else {
            return Err(Refusal::Type(expected));
        };
        usize::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .filter(|number| range.contains(number))
            .ok_or(Refusal::Value(expected))
    }
}

/// No time limit is longer: the clock can be added to it without a thought.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// A duration, which may be zero.
pub(super) fn duration(value: &DeValue<'_>) -> Result<Duration, Refusal> {
    let expected = "a duration such as \"10s\" or \"35m\", of a year at most";
    text(value, expected, |text| {
        let duration = humantime::parse_duration(text).ok()?;
        (duration <= LONGEST).then_some(duration)
    })
}

/// A duration above zero.
pub(super) fn time_limit(value: &DeValue<'_>) -> Result<Duration, Refusal> {
    match duration(value)? {
        Duration::ZERO => Err(Refusal::Value("a duration above zero".into())),
        duration => Ok(duration),
    }
}

/// A size in bytes, above zero: `"64KiB"`.
pub(super) fn size(value: &DeValue<'_>) -> Result<u64, Refusal> {
    const UNITS: [(&str, u64); 5] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("B", 1),
    ];
    let expected = "a size above zero such as \"64KiB\" or \"100MiB\" (B, KiB, MiB, GiB, TiB)";
    text(value, expected, |text| {
        let split = |(unit, bytes)| Some((text.strip_suffix(unit)?.trim_end(), bytes));
        let (digits, unit) = UNITS.into_iter().find_map(split)?;
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let size = digits.parse::<u64>().ok()?.checked_mul(unit)?;
        (size > 0).then_some(size)
    })
}

/// A path of a URL, without a query, as it is compared: no escapes, no dots to resolve.
pub(super) fn route_path(value: &DeValue<'_>) -> Result<Box<str>, Refusal> {
    let expected = "a path such as \"/\" or \"/ews\", decoded, without a query, \"//\" and dots";
    text(value, expected, |text| {
        let whole = http::normal_path(text)?;
        (*whole == *text && !text.contains(['%', '?', '#'])).then(|| text.into())
    })
}

/// A path of a URL as it is asked for.
pub(super) fn request_path(value: &DeValue<'_>) -> Result<String, Refusal> {
    let expected = "a path such as \"/\" or \"/health?full=1\"";
    text(value, expected, |text| {
        let fits = text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic());
        (fits && !text.contains('#')).then(|| text.to_owned())
    })
}

/// What web servers are told to be called: `HOST` or `HOST:PORT`.
pub(super) fn authority(value: &DeValue<'_>) -> Result<String, Refusal> {
    let expected = "HOST or HOST:PORT such as \"mail.example.com\"";
    text(value, expected, |text| {
        http::Authority::parse(text)?;
        Some(text.to_ascii_lowercase())
    })
}

/// How long browsers are to remember; a year is not the most.
pub(super) fn memory(value: &DeValue<'_>) -> Result<Duration, Refusal> {
    let expected = "a duration such as \"365d\", of ten years at most";
    text(value, expected, |text| {
        let duration = humantime::parse_duration(text).ok()?;
        (duration <= LONGEST * 10).then_some(duration)
    })
}

/// `https` or `https:PORT`: the port.
pub(super) fn redirect(value: &DeValue<'_>) -> Result<u16, Refusal> {
    let expected = "\"https\" or \"https:PORT\"";
    text(value, expected, |text| {
        match text.strip_prefix("https")? {
            "" => Some(443),
            port => {
                let digits = port.strip_prefix(':')?;
                let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
                digits.parse().ok().filter(|port| plain && *port > 0)
            }
        }
    })
}

/// The status of an answer without an upstream.
pub(super) fn status(value: &DeValue<'_>) -> Result<u16, Refusal> {
    let expected = "a status from 200 to 599 that needs no further fields, such as 404";
    let integer = value.as_integer();
    let integer = integer.ok_or_else(|| Refusal::Type(expected.into()))?;
    let status = u16::from_str_radix(integer.as_str(), integer.radix()).ok();
    // What has a meaning only with a Location, WWW-Authenticate or Upgrade field.
    status
        .filter(|status| matches!(status, 200..=299 | 400 | 402..=406 | 408..=425 | 427..=599))
        .ok_or_else(|| Refusal::Value(expected.into()))
}

/// The interval between health checks; zero: none.
pub(super) fn interval(value: &DeValue<'_>) -> Result<Option<Duration>, Refusal> {
    const SHORTEST: Duration = Duration::from_millis(100);
    match duration(value)? {
        Duration::ZERO => Ok(None),
        duration if duration < SHORTEST => {
            let expected = "\"0s\" for none, or a duration from \"100ms\"";
            Err(Refusal::Value(expected.into()))
        }
        duration => Ok(Some(duration)),
    }
}

pub(super) fn host_name(value: &DeValue<'_>) -> Result<DnsName, Refusal> {
    let expected = "a host name such as \"mail.example.com\"";
    text(value, expected, |text| DnsName::parse(text).ok())
}

pub(super) fn name_pattern(value: &DeValue<'_>) -> Result<NamePattern, Refusal> {
    let expected = "a host name such as \"mail.example.com\" or \"*.example.com\"";
    text(value, expected, |text| NamePattern::parse(text).ok())
}

/// An address to bind; an IPv4 address in IPv6 form becomes IPv4.
pub(super) fn bind_address(value: &DeValue<'_>) -> Result<SocketAddr, Refusal> {
    let expected = "ADDRESS:PORT such as \"[::]:993\" or \"127.0.0.1:993\"";
    text(value, expected, |text| {
        let address: SocketAddr = text.parse().ok()?;
        Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
    })
}

pub(super) fn network(value: &DeValue<'_>) -> Result<Network, Refusal> {
    let expected = "a network such as \"10.0.0.0/8\"";
    let text = value.as_str();
    let text = text.ok_or_else(|| Refusal::Type(expected.into()))?;
    text.parse().map_err(|error: NetworkError| {
        let error = error.to_string();
        Refusal::Value(error.trim_start_matches("expected ").to_owned())
    })
}

/// `system`, `mozilla` or a PEM file. A file is told from a misspelt word by the dot or
/// slash in it.
pub(super) fn trust_source(base: &Path) -> impl Fn(&DeValue<'_>) -> Result<TrustSource, Refusal> {
    move |value| {
        let expected = "\"system\", \"mozilla\" or a PEM file such as \"ca.pem\"";
        text(value, expected, |text| match text {
            "system" => Some(TrustSource::System),
            "mozilla" => Some(TrustSource::Mozilla),
            file if file.contains(['.', '/']) && !file.contains('\0') => {
                Some(TrustSource::File(base.join(file)))
            }
            _ => None,
        })
    }
}

/// SHA-256 over a SubjectPublicKeyInfo, in Base64 (RFC 7469 section 2.4 writes pins so).
pub(super) fn pin(value: &DeValue<'_>) -> Result<[u8; 32], Refusal> {
    let expected = "the 44 characters of Base64 that `gatepost cert show` prints as SPKI pin";
    text(value, expected, |text| {
        let digest = BASE64.decode(text.as_bytes()).ok()?;
        digest.try_into().ok()
    })
}

/// The mode of the admin socket, in octal digits.
pub(super) fn mode(value: &DeValue<'_>) -> Result<u32, Refusal> {
    let expected = "a string of octal digits such as \"0600\"";
    text(value, expected, |text| {
        let octal =
            (3..=4).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
        let mode = u32::from_str_radix(text, 8).ok()?;
        (octal && mode <= 0o777).then_some(mode)
    })
}

/// A level or a filter. A filter would take a misspelt level for the name of a module,
/// so a directive without `=` has to be a level.
pub(super) fn log_filter(value: &DeValue<'_>) -> Result<String, Refusal> {
    let expected = "off, error, warn, info, debug, trace, or a filter such as \
                    \"info,gatepost::proxy=debug\"";
    text(value, expected, |text| {
        let levels = ["off", "error", "warn", "info", "debug", "trace"];
        let directives_read = text.split(',').all(|directive| {
            directive.contains(['=', '[', ']', '{', '}'])
                || levels
                    .iter()
                    .any(|level| level.eq_ignore_ascii_case(directive))
        });
        let accepted = directives_read && EnvFilter::builder().parse(text).is_ok();
        accepted.then(|| text.to_owned())
    })
}

/// A server; the path of a Unix socket is relative to `base`.
pub(super) fn server(base: &Path) -> impl Fn(&DeValue<'_>) -> Result<ServerAddress, Refusal> {
    move |value| {
        let expected = "HOST, HOST:PORT or unix:/PATH";
        text(value, expected, |text| match text.strip_prefix("unix:") {
            Some("") => None,
            Some(path) if path.contains('\0') => None,
            Some(path) => Some(ServerAddress::Unix(base.join(path))),
            None => tcp_server(text),
        })
    }
}

/// `HOST`, `HOST:PORT`, `[IPV6]`, `[IPV6]:PORT`, and an IPv6 address without brackets or port.
fn tcp_server(text: &str) -> Option<ServerAddress> {
    let (host, port) = if text.parse::<Ipv6Addr>().is_ok() {
        (text, None)
    } else if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        host.parse::<Ipv6Addr>().ok()?;
        let port = (!rest.is_empty()).then(|| rest.strip_prefix(':'));
        (host, port.map_or(Some(None), |port| port.map(Some))?)
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    let port = match port {
        None => None,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(digits.parse().ok().filter(|port: &u16| *port > 0)?)
        }
        Some(_) => return None,
    };
    Some(ServerAddress::Tcp {
        host: server_host(host)?,
        port,
    })
}

/// An address, or a name as resolvers take them: underscores, which no certificate may
/// carry, are common inside of networks.
fn server_host(text: &str) -> Option<String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical().to_string());
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    let last = name.rsplit('.').next().unwrap_or(name);
    if !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()) {
        // An address with a slip in it.
        return None;
    }
    if name.len() <= 253 && name.split('.').all(label) {
        return Some(name.to_ascii_lowercase());
    }
    let name = DnsName::parse(name).ok()?;
    Some(name.as_str().to_owned())
}

/// The value's type, with its article.
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The value as it was written, long ones shortened.
pub(super) fn found(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => quoted(text),
        DeValue::Integer(integer) => integer.to_string(),
        DeValue::Float(float) => float.to_string(),
        DeValue::Boolean(boolean) => boolean.to_string(),
        DeValue::Datetime(date) => date.to_string(),
        DeValue::Array(items) if items.is_empty() => "[]".into(),
        DeValue::Array(_) => "[…]".into(),
        DeValue::Table(_) => "{…}".into(),
    }
}

/// The text in quotation marks, safe for a terminal, long ones shortened.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN: usize = 80;
    if text.chars().nth(SHOWN).is_none() {
        return format!("{text:?}");
    }
    let shown: String = text.chars().take(SHOWN).chain(['…']).collect();
    format!("{shown:?}")
}
