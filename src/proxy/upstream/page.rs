//! Whether a web server answers: a page is asked for, and the status is all that counts.

use std::borrow::Cow;
use std::io;
use std::time::Duration;

use tokio::time::timeout;

use crate::config;
use crate::proxy::upstream::{Failure, Reached};

/// How long a server is listened to that has said what counts.
const FAREWELL: Duration = Duration::from_secs(1);

/// Longest beginning of an answer that is looked at for its status.
const LONGEST: usize = 1024;

impl Reached {
    /// Asks for a page, and returns the status of the answer. The rest of it is read and
    /// forgotten, for a moment: a server has nothing to complain of then.
    ///
    /// # Errors
    /// If the connection fails, or what is said is no HTTP.
    pub async fn page(&mut self, host: &str, path: &str) -> Result<u16, Failure> {
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: gatepost\r\naccept: */*\r\n\
             connection: close\r\n\r\n"
        );
        self.say(request.as_bytes()).await.map_err(Failure::Io)?;
        let status = loop {
            if let Some(status) = status(self.heard())? {
                self.heed(self.heard().len());
                break status;
            }
            if self.listen().await.map_err(Failure::Io)? == 0 {
                return Err(Failure::Closed);
            }
        };
        let rest = async {
            while self.listen().await.is_ok_and(|n| n > 0) {
                self.heed(self.heard().len());
            }
        };
        // However it ends, the status is known.
        let _ = timeout(FAREWELL, rest).await;
        Ok(status)
    }
}

/// What a server of this upstream is called when nobody has asked for it by a name.
pub fn host_of<'a>(config: &'a config::Upstream, server: &config::ServerAddress) -> Cow<'a, str> {
    match (&config.host, server) {
        (Some(host), _) => host.into(),
        (None, config::ServerAddress::Unix(_)) => "localhost".into(),
        (None, server @ config::ServerAddress::Tcp { .. }) => server.to_string().into(),
    }
}

/// The status of an answer, once its first line is there.
fn status(heard: &[u8]) -> Result<Option<u16>, Failure> {
    let no_http = || Failure::Io(io::Error::new(io::ErrorKind::InvalidData, "no HTTP"));
    let end = memchr::memchr(b'\n', heard);
    let line = match end {
        Some(end) => heard.get(..end).unwrap_or(heard),
        None if heard.len() > LONGEST => return Err(no_http()),
        None => return Ok(None),
    };
    let line = std::str::from_utf8(line.get(..line.len().min(12)).unwrap_or(line));
    let line = line.map_err(|_| no_http())?;
    let digits = line
        .strip_prefix("HTTP/1.0 ")
        .or_else(|| line.strip_prefix("HTTP/1.1 "));
    let digits = digits
        .filter(|digits| digits.len() == 3)
        .ok_or_else(no_http)?;
    digits.parse().map(Some).map_err(|_| no_http())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_tells() {
        for (heard, expected) in [
            (&b""[..], Some(None)),
            (b"HTTP/1.1 200 O", Some(None)),
            (b"HTTP/1.1 200 OK\r\n", Some(Some(200))),
            (b"HTTP/1.0 503\nx", Some(Some(503))),
            (b"HTTP/2 200 OK\r\n", None),
            (b"220 mail.example.com ESMTP\r\n", None),
            (b"HTTP/1.1 2\r\n", None),
            (b"\n", None),
            (b"\xff\xff\n", None),
            (&[b'x'; LONGEST + 1], None),
        ] {
            assert_eq!(status(heard).ok(), expected, "{heard:?}");
        }
    }
}
