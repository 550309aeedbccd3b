//! Paths as routes compare them, and queries as logs show them.

use std::borrow::Cow;
use std::fmt::Write;

use hyper::Uri;

/// A path as a server will most likely read it: percent-decoded, `//` merged, `.` and `..`
/// resolved. It is for comparison only; what is passed on is what was asked for. `None` if there
/// is no way to read it: no leading slash, an escape that is none, a NUL, or `..` above the top.
pub fn normal_path(path: &str) -> Option<Cow<'_, str>> {
    if !path.starts_with('/') {
        return None;
    }
    let plain = !path.contains(['%', '\\']) && !path.contains("//") && !path.contains("/.");
    if plain {
        return Some(Cow::Borrowed(path));
    }
    let decoded = decoded(path)?;
    let mut segments: Vec<&[u8]> = Vec::new();
    let mut folder = false;
    // Some servers take a backslash for a slash.
    for segment in decoded.split(|byte| matches!(byte, b'/' | b'\\')).skip(1) {
        folder = matches!(segment, b"" | b"." | b"..");
        match segment {
            b"" | b"." => {}
            b".." => {
                segments.pop()?;
            }
            segment => segments.push(segment),
        }
    }
    let mut normal = vec![b'/'];
    normal.extend(segments.join(&b'/'));
    if folder && normal.len() > 1 {
        normal.push(b'/');
    }
    Some(String::from_utf8_lossy(&normal).into_owned().into())
}

/// Path and query alone, as they are passed on. Bytes beyond ASCII, which old browsers send as
/// they are, are escaped (RFC 3987 section 3.1): a target has none (RFC 9112 section 3.2).
pub fn origin_form(uri: &Uri) -> Uri {
    let Some(target) = uri.path_and_query() else {
        return Uri::from_static("/");
    };
    if target.as_str().is_ascii() {
        return Uri::from(target.clone());
    }
    let mut escaped = String::with_capacity(target.as_str().len() * 2);
    for byte in target.as_str().bytes() {
        let _ = match byte.is_ascii() {
            true => escaped.write_char(char::from(byte)),
            false => write!(escaped, "%{byte:02X}"),
        };
    }
    // Nothing is in there that was not; the length is what was examined.
    Uri::try_from(escaped).unwrap_or_else(|_| Uri::from(target.clone()))
}

fn decoded(path: &str) -> Option<Vec<u8>> {
    let mut bytes = path.bytes();
    let mut decoded = Vec::with_capacity(path.len());
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high << 4 | low).ok()?
            }
            byte => byte,
        };
        if byte == 0 {
            return None;
        }
        decoded.push(byte);
    }
    Some(decoded)
}

/// Whether a path begins with what a route is for.
pub fn is_beneath(path: &str, prefix: &str) -> bool {
    path.starts_with(prefix)
}

/// Path and query for a log: the values of passwords and tokens are not for it.
pub fn masked(path_and_query: &str) -> Cow<'_, str> {
    let Some((path, query)) = path_and_query.split_once('?') else {
        return Cow::Borrowed(path_and_query);
    };
    let secret = |pair: &str| {
        let name = pair.split('=').next().unwrap_or(pair);
        let name = decoded(name).unwrap_or_else(|| name.into());
        let name = name.to_ascii_lowercase();
        let has = |word: &[u8]| name.windows(word.len()).any(|part| part == word);
        has(b"password") || has(b"token")
    };
    let separators = ['&', ';'];
    if !query.split(separators).any(secret) {
        return Cow::Borrowed(path_and_query);
    }
    let mut shown = format!("{path}?");
    for pair in query.split_inclusive(separators) {
        let (pair, end) = match pair.strip_suffix(separators) {
            Some(bare) => (bare, &pair[bare.len()..]),
            None => (pair, ""),
        };
        match pair.split_once('=').filter(|_| secret(pair)) {
            Some((name, _)) => {
                shown.push_str(name);
                shown.push_str("=***");
            }
            None => shown.push_str(pair),
        }
        shown.push_str(end);
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_passed_on_in_ascii() {
        for (target, passed) in [
            ("/a%c3%a4?b=c", "/a%c3%a4?b=c"),
            ("https://a.example/ä?ö=ü", "/%C3%A4?%C3%B6=%C3%BC"),
            ("https://a.example", "/"),
            ("*", "*"),
        ] {
            let uri = Uri::try_from(target).unwrap();
            assert_eq!(origin_form(&uri).to_string(), passed, "{target}");
        }
    }

    #[test]
    fn a_path_is_compared_as_it_will_be_read() {
        for (path, expected) in [
            ("/", Some("/")),
            ("/ews/", Some("/ews/")),
            ("/ews/exchange.asmx", Some("/ews/exchange.asmx")),
            ("/%65ws/", Some("/ews/")),
            ("//ews", Some("/ews")),
            ("/a//b", Some("/a/b")),
            ("/public/../ews/", Some("/ews/")),
            ("/public/%2e%2E/ews", Some("/ews")),
            ("/public/..%2fews", Some("/ews")),
            ("/public\\..\\ews", Some("/ews")),
            ("/./ews/.", Some("/ews/")),
            ("/a/b/..", Some("/a/")),
            ("/...", Some("/...")),
            ("/..", None),
            ("/a/../../b", None),
            ("/%zz", None),
            ("/%4", None),
            ("/a%00b", None),
            ("ews", None),
            ("*", None),
            ("/b\u{fc}cher", Some("/b\u{fc}cher")),
            ("/%ff", Some("/\u{fffd}")),
        ] {
            assert_eq!(normal_path(path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn secrets_of_a_query_are_not_shown() {
        for (asked, shown) in [
            ("/login", "/login"),
            ("/login?user=a", "/login?user=a"),
            (
                "/login?user=a&password=b&x=c",
                "/login?user=a&password=***&x=c",
            ),
            ("/?PassWord=b", "/?PassWord=***"),
            ("/?p%61ssword=b", "/?p%61ssword=***"),
            ("/?access_token=b;token=c", "/?access_token=***;token=***"),
            ("/?token", "/?token"),
            ("/?token=", "/?token=***"),
            ("/?a=b?token=c", "/?a=b?token=c"),
            ("/?newPassword=a=b&", "/?newPassword=***&"),
        ] {
            assert_eq!(masked(asked), shown);
        }
    }
}
