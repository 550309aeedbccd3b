//! Fields that belong to one connection, and what they say.

use hyper::header::{
    AUTHORIZATION, CONNECTION, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE, WWW_AUTHENTICATE,
};

/// `Keep-Alive`, of which HTTP/1.0 had more.
pub const PERSISTENT: HeaderName = HeaderName::from_static("keep-alive");

const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Whether a field belongs to the connection that it came on (RFC 9110 section 7.6.1), whether
/// or not Connection names it. `Proxy` is no field of HTTP at all, but scripts take it for the
/// setting of a proxy (CVE-2016-5385).
pub(super) fn is_of_connection(name: &HeaderName) -> bool {
    *name == CONNECTION
        || *name == TRANSFER_ENCODING
        || *name == UPGRADE
        || *name == TE
        || *name == PERSISTENT
        || *name == PROXY_CONNECTION
        || *name == PROXY_AUTHENTICATE
        || *name == PROXY_AUTHORIZATION
        || *name == HTTP2_SETTINGS
        || name == "proxy"
}

/// The members of a list field, in all its lines (RFC 9110 section 5.6.1).
pub(super) fn members<'f>(
    fields: &'f HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'f str> {
    fields.get_all(name).iter().flat_map(members_of)
}

/// The members in one line.
fn members_of(line: &HeaderValue) -> impl Iterator<Item = &str> {
    let members = line.to_str().unwrap_or_default().split(',');
    members.map(str::trim).filter(|member| !member.is_empty())
}

/// Whether a list field has this member, in whatever case.
pub fn list_has(fields: &HeaderMap, name: &HeaderName, member: &str) -> bool {
    members(fields, name).any(|found| found.eq_ignore_ascii_case(member))
}

/// Whether a request asks to change the protocol to something that may pass: not to HTTP/2,
/// in which nobody would look at what follows.
pub fn is_upgrade(fields: &HeaderMap) -> bool {
    list_has(fields, &CONNECTION, "upgrade") && upgrades(fields).next().is_some()
}

fn upgrades(fields: &HeaderMap) -> impl Iterator<Item = &str> {
    members(fields, &UPGRADE).filter(|protocol| {
        let name = protocol.split('/').next().unwrap_or(protocol);
        !name.eq_ignore_ascii_case("h2c") && !name.eq_ignore_ascii_case("http")
    })
}

/// What of Upgrade passes on; `None` if nothing.
pub(super) fn passed_upgrade(fields: &HeaderMap) -> Option<HeaderValue> {
    let protocols: Vec<_> = upgrades(fields).collect();
    let wanted = is_upgrade(fields);
    HeaderValue::from_str(&protocols.join(", "))
        .ok()
        .filter(|_| wanted)
}

/// Whether a server answers a change of the protocol with what was asked for.
pub fn server_upgrades(asked: &HeaderMap, answered: &HeaderMap) -> bool {
    let mut chosen = members(answered, &UPGRADE);
    match (chosen.next(), chosen.next()) {
        (Some(chosen), None) => upgrades(asked).any(|asked| asked.eq_ignore_ascii_case(chosen)),
        _ => false,
    }
}

/// Whether a client can take trailers (RFC 9110 section 10.1.4).
pub fn with_trailers(fields: &HeaderMap) -> bool {
    members(fields, &TE).any(|member| {
        let name = member.split(';').next().unwrap_or(member);
        name.trim_end().eq_ignore_ascii_case("trailers")
    })
}

/// Whether a message belongs to an authentication that holds for a whole connection: another
/// client on it would be that user (RFC 4559 section 6, [MS-NTHT]).
pub fn connection_based(fields: &HeaderMap) -> bool {
    let is_telling = |name: &HeaderName| *name == AUTHORIZATION || *name == WWW_AUTHENTICATE;
    let mut lines = fields.iter().filter(|(name, _)| is_telling(name));
    lines.any(|(_, line)| {
        members_of(line).any(|member| {
            let scheme = member.split(' ').next().unwrap_or(member);
            scheme.eq_ignore_ascii_case("ntlm") || scheme.eq_ignore_ascii_case("negotiate")
        })
    })
}

/// What of a request or an answer Connection names; `close` and `keep-alive` are no fields.
pub(super) fn named(fields: &HeaderMap) -> Vec<&str> {
    members(fields, &CONNECTION).collect()
}

/// Takes away what belongs to the server's connection from an answer.
pub fn for_client(fields: &mut HeaderMap) {
    // One look at all of them: most answers have none of these.
    let mut unfit = Vec::new();
    for name in fields.keys() {
        if *name == CONNECTION {
            let named = named(fields);
            let named = named
                .into_iter()
                .map(|name| HeaderName::from_bytes(name.as_bytes()));
            unfit.extend(named.filter_map(Result::ok));
        }
        // Both of these are fields of requests.
        if is_of_connection(name) && *name != PROXY_AUTHORIZATION && name != "proxy" {
            unfit.push(name.clone());
        }
    }
    for name in unfit {
        fields.remove(name);
    }
}

#[cfg(test)]
pub(super) fn fields(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for (name, value) in lines {
        fields.append(*name, value.parse().unwrap());
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upgrades_pass_but_for_http() {
        for (connection, upgrade, passes) in [
            ("Upgrade", "websocket", Some("websocket")),
            ("keep-alive, upgrade", "websocket", Some("websocket")),
            ("upgrade", "h2c, websocket", Some("websocket")),
            ("upgrade, http2-settings", "h2c", None),
            ("upgrade", "HTTP/2.0", None),
            ("keep-alive", "websocket", None),
            ("upgrade", "", None),
            ("upgrade", "PRINTER/1.0", Some("PRINTER/1.0")),
        ] {
            let fields = fields(&[("connection", connection), ("upgrade", upgrade)]);
            let found = passed_upgrade(&fields);
            assert_eq!(found.as_ref().map(|it| it.to_str().unwrap()), passes);
            assert_eq!(is_upgrade(&fields), passes.is_some(), "{upgrade}");
        }
    }

    #[test]
    fn a_server_changes_to_what_was_asked_for_alone() {
        let asked = fields(&[("connection", "upgrade"), ("upgrade", "websocket, foo")]);
        for (answer, fits) in [
            ("WebSocket", true),
            ("bar", false),
            ("websocket, foo", false),
            ("", false),
        ] {
            assert_eq!(
                server_upgrades(&asked, &fields(&[("upgrade", answer)])),
                fits,
                "{answer}"
            );
        }
    }

    #[test]
    fn connections_that_are_a_user_are_known() {
        for (name, value, expected) in [
            ("www-authenticate", "NTLM", true),
            ("www-authenticate", "Basic realm=\"a\", Negotiate", true),
            ("www-authenticate", "Basic realm=\"NTLM\"", false),
            ("authorization", "negotiate YII=", true),
            ("authorization", "Basic bnRsbTphCg==", false),
            ("x-authorization", "NTLM", false),
        ] {
            assert_eq!(
                connection_based(&fields(&[(name, value)])),
                expected,
                "{value}"
            );
        }
    }

    #[test]
    fn what_belongs_to_the_servers_connection_stays_there() {
        let mut answer = fields(&[
            ("connection", "keep-alive, X-Own"),
            ("keep-alive", "timeout=5"),
            ("x-own", "1"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("trailer", "x-sum"),
        ]);
        for_client(&mut answer);
        let left = fields(&[
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("trailer", "x-sum"),
        ]);
        assert_eq!(answer, left);
    }

    #[test]
    fn trailers_are_asked_for_in_te() {
        for (te, expected) in [
            ("trailers", true),
            ("gzip, Trailers;q=0.5", true),
            ("gzip", false),
        ] {
            assert_eq!(with_trailers(&fields(&[("te", te)])), expected, "{te}");
        }
    }
}
