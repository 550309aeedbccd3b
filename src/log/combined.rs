//! Access lines of HTTP in the Combined form, which every tool for web logs reads; all else as
//! the library writes it.

use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::log::ACCESS;
use crate::time::{Clock, common_log};

/// How text lines look.
#[derive(Debug, Default)]
pub(super) struct Lines(Format<Full>);

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        if metadata.target() != ACCESS || metadata.name() != "request" {
            // The library's own rule for colours is with the writer.
            return self.0.format_event(context, writer, event);
        }
        let mut request = Request::default();
        event.record(&mut request);
        writeln!(writer, "{}", request.line())
    }
}

/// The fields of a request.
#[derive(Debug, Default)]
struct Request(Vec<(&'static str, String)>);

impl Visit for Request {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push((field.name(), value.to_owned()));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.push((field.name(), format!("{value:.3}")));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push((field.name(), format!("{value:?}")));
    }
}

impl Request {
    fn get(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(field, _)| *field == name);
        found.map_or("-", |(_, value)| value)
    }

    /// The Combined form, and behind it the host, the upstream, its server, the seconds that the
    /// request and the server took, and the request's number.
    fn line(&self) -> String {
        let now = Clock::System.now().as_secs();
        let date = common_log(i64::try_from(now).unwrap_or(i64::MAX));
        // With its port an address would be no host to the tools that read this.
        let client = self
            .get("client")
            .rsplit_once(':')
            .map_or("-", |(host, _)| host);
        let client = client.trim_start_matches('[').trim_end_matches(']');
        let mut line = format!("{client} - - [{date}] ");
        let request = match self.get("method") {
            "-" => "-".to_owned(),
            method => format!("{method} {} {}", self.get("path"), self.get("protocol")),
        };
        push_quoted(&mut line, &request);
        let _ = write!(line, " {} {} ", self.get("status"), self.get("bytes"));
        push_quoted(&mut line, self.get("referer"));
        line.push(' ');
        push_quoted(&mut line, self.get("agent"));
        line.push(' ');
        push_quoted(&mut line, self.get("host"));
        for name in ["upstream", "server", "seconds", "upstream_seconds", "id"] {
            line.push(' ');
            match self.get(name) {
                value
                    if value
                        .bytes()
                        .all(|byte| byte.is_ascii_graphic() && byte != b'"') =>
                {
                    line.push_str(value);
                }
                value => push_quoted(&mut line, value),
            }
        }
        line
    }
}

/// In quotation marks, as nginx escapes what would not stay between them or on its line.
fn push_quoted(line: &mut String, text: &str) {
    line.push('"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' | 0..=31 | 127.. => {
                let _ = write!(line, "\\x{byte:02X}");
            }
            byte => line.push(char::from(byte)),
        }
    }
    line.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_line_that_nobody_can_forge() {
        let fields = [
            ("client", "[2001:db8::1]:4711"),
            ("method", "GET"),
            ("path", "/a\"b"),
            ("protocol", "HTTP/2.0"),
            ("status", "200"),
            ("bytes", "5"),
            ("agent", "x\" 200 5\u{e9}\n"),
            ("host", "mail.example.com"),
            ("upstream", "old web"),
            ("server", "10.0.0.5:80"),
            ("seconds", "0.012"),
            ("id", "0123"),
        ];
        let request = Request(fields.map(|(name, value)| (name, value.to_owned())).into());
        let line = request.line();
        let (client, rest) = line.split_once(" - - [").unwrap();
        assert_eq!(client, "2001:db8::1");
        let (_, rest) = rest.split_once("] ").unwrap();
        assert_eq!(
            rest,
            "\"GET /a\\x22b HTTP/2.0\" 200 5 \"-\" \"x\\x22 200 5\\xC3\\xA9\\x0A\" \
             \"mail.example.com\" \"old web\" 10.0.0.5:80 0.012 - 0123"
        );
    }
}
