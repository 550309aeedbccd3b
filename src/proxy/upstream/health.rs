//! Whether servers answer: asked in their own protocol, again and again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::Protocol;
use crate::proxy::upstream::page::host_of;
use crate::proxy::upstream::reach::{A_CHECK, Failure, Reached};
use crate::proxy::upstream::{Purpose, Request, Server, Upstream};
use crate::wire::announced::Announced;
use crate::wire::opening::announced;

/// Whether a server answered last time, for each thing it is asked for: a bit for being known,
/// and one, in the upper half, for being down.
#[derive(Debug, Default)]
pub(super) struct Health(AtomicU32);

const DOWN: u32 = 16;

/// How long a health check may take in all. Servers that delay their greeting do it for half of
/// this; one that hangs is to be known before every client has waited for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long one may take whose forerunner was quick, and how many times as long as that.
const LEAST_PATIENCE: (Duration, u32) = (Duration::from_secs(20), 4);

/// What a server is asked for: to speak a protocol, or no more than to take a connection whose
/// TLS is not ours. That it does the one says nothing of the other.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asked {
    Spoken(Protocol),
    Untouched(Protocol),
}

impl Asked {
    fn bit(self) -> u32 {
        let n = match self {
            Self::Spoken(protocol) => protocol.index(),
            Self::Untouched(protocol) => protocol.index() + Protocol::COUNT,
        };
        const { assert!(2 * Protocol::COUNT <= DOWN as usize) };
        1 << n
    }

    pub(super) fn protocol(self) -> Protocol {
        match self {
            Self::Spoken(protocol) | Self::Untouched(protocol) => protocol,
        }
    }
}

/// What is new about a server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Change {
    /// Whether it answers now in everything that it was asked for.
    pub(super) up: bool,
    /// Whether it did not answer before.
    pub(super) again: bool,
}

impl Health {
    /// Notes whether it answered; `None` if that is no news.
    pub(super) fn note(&self, asked: Asked, answered: bool) -> Option<Change> {
        let known = asked.bit();
        let down = known << DOWN;
        let after = |before: u32| match answered {
            true => (before | known) & !down,
            false => before | known | down,
        };
        let before = self.0.load(Ordering::Relaxed);
        if after(before) == before {
            return None;
        }
        let changed = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |before| {
                (after(before) != before).then(|| after(before))
            });
        let before = changed.ok()?;
        Some(Change {
            up: after(before) >> DOWN == 0,
            again: before & down != 0,
        })
    }

    /// Whether it did not answer last time.
    pub(super) fn is_down(&self, asked: Asked) -> bool {
        let down = asked.bit() << DOWN;
        self.0.load(Ordering::Relaxed) & down != 0
    }

    /// Whether it answers in everything that it was asked for; `None` if it never was asked.
    pub(super) fn up(&self) -> Option<bool> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            bits => Some(bits >> DOWN == 0),
        }
    }
}

/// How long a check may take after one that went well and took so long.
fn patience_after(taken: Duration) -> Duration {
    let (least, times) = LEAST_PATIENCE;
    taken.saturating_mul(times).clamp(least, PATIENCE)
}

impl Upstream {
    /// Asks one server again and again, in one protocol, and remembers what it says of itself;
    /// returns at once if `health_interval` is off, or there is no such server. `own_name` is
    /// who we say we are. `untouched`: its TLS is not ours, so that it is connected to only.
    /// Ends with `stop`; a check that runs then is brought to its end, so that the server has
    /// nothing to complain of, and nobody heeds what comes of it.
    pub async fn watch(
        self: Arc<Self>,
        server: usize,
        protocol: Protocol,
        untouched: bool,
        own_name: Arc<str>,
        stop: CancellationToken,
    ) {
        let (Some(interval), Some(server)) =
            (self.config.health_interval, self.servers.get(server))
        else {
            return;
        };
        let request = Request {
            protocol,
            announcement: None,
            own_name: &own_name,
            purpose: match untouched {
                true => Purpose::Untouched,
                false => Purpose::Probe,
            },
        };
        let mut patience = PATIENCE;
        while !stop.is_cancelled() {
            let begun = Instant::now();
            let outcome = self.probe(server, &request, patience).await;
            if stop.is_cancelled() {
                return;
            }
            if outcome.is_ok() {
                patience = patience_after(begun.elapsed());
            }
            if let Some(announced) = self.heed(server, &request, outcome) {
                server.announced[protocol.index()].store(Some(Arc::new(announced)));
                self.compare(protocol);
            }
            stop.run_until_cancelled(sleep(interval)).await;
        }
    }

    /// Asks one server.
    async fn probe(
        &self,
        server: &Server,
        request: &Request<'_>,
        patience: Duration,
    ) -> Result<Reached, Failure> {
        let tls = self.tls.load_full();
        let way = self.way(server, tls.as_deref());
        let asking = async {
            let mut reached = way.reach(request).await?;
            if let Some(path) = &self.config.health_path
                && request.protocol == Protocol::Http
            {
                let host = host_of(&self.config, &server.address);
                match reached.page(&host, path).await? {
                    200..=399 => {}
                    status => return Err(Failure::Unhealthy(status)),
                }
            }
            Ok(reached)
        };
        match timeout(patience, asking).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Failure::Timeout(A_CHECK)),
        }
    }

    /// Notes what came of asking. What a mail server that can be used says of itself.
    fn heed(
        &self,
        server: &Server,
        request: &Request<'_>,
        outcome: Result<Reached, Failure>,
    ) -> Option<Announced> {
        if let Err(failure) = &outcome {
            server.avoid_from(self.since.elapsed());
            self.metrics.error(failure.reason());
        }
        // A server that refuses us, for it is asked too often say, may take clients all the same.
        if outcome.as_ref().err().is_none_or(Failure::is_down) {
            self.note(server, request.asked(), outcome.as_ref().err());
        }
        // Who waits for its greeting now would wait in vain.
        if let Err(Failure::Timeout(_)) = outcome {
            server.silent[request.protocol.index()].notify_waiters();
        }
        let opened = outcome.ok()?.opened?;
        Some(announced(request.protocol.mail()?, &opened))
    }

    /// Finds what all servers say; those that never answered are not asked. Where none answers,
    /// clients are still told what the servers said last.
    fn compare(&self, protocol: Protocol) {
        let said = |server: &Server| server.announced[protocol.index()].load_full();
        let said = self.servers.iter().filter_map(said);
        let in_common = said.reduce(|all, one| Arc::new(all.in_common(&one)));
        self.announced[protocol.index()].store(in_common);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
    use tokio::net::TcpListener;

    use super::*;
    use crate::config::Balance;
    use crate::proxy::upstream::tests::probed;

    const LONG: Duration = Duration::from_secs(3600);

    async fn imap_server() -> (TcpListener, String) {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap().to_string();
        (server, address)
    }

    fn request(purpose: Purpose<'static>) -> Request<'static> {
        Request {
            protocol: Protocol::Imap,
            announcement: None,
            own_name: "proxy.example",
            purpose,
        }
    }

    #[test]
    fn who_was_quick_is_not_waited_for_as_long() {
        for (taken, patience) in [(0, 20), (5_000, 20), (6_000, 24), (25_000, 60)] {
            let found = patience_after(Duration::from_millis(taken));
            assert_eq!(found, Duration::from_secs(patience), "{taken} ms");
        }
    }

    #[tokio::test]
    async fn a_check_that_runs_is_brought_to_its_end() {
        let (server, address) = imap_server().await;
        let upstream = probed(&[&address], Balance::LeastConnections, Some(LONG));
        let stop = CancellationToken::new();
        let own_name = "proxy.example".into();
        let watch = Arc::clone(&upstream).watch(0, Protocol::Imap, false, own_name, stop.clone());
        let watch = tokio::spawn(watch);
        let (stream, _) = server.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        stop.cancel();
        stream
            .write_all(b"* OK [CAPABILITY IMAP4rev1] hi\r\n")
            .await
            .unwrap();
        let mut said = String::new();
        stream.read_line(&mut said).await.unwrap();
        assert_eq!(said, "gp4 LOGOUT\r\n");
        stream.write_all(b"* BYE\r\ngp4 OK\r\n").await.unwrap();
        watch.await.unwrap();
        assert_eq!(upstream.status()[0].up, None, "nobody heeds it");
    }

    #[tokio::test]
    async fn a_client_does_not_wait_for_a_server_that_is_found_to_hang() {
        let ((hanging, first), (other, second)) = (imap_server().await, imap_server().await);
        let upstream = probed(&[&first, &second], Balance::LeastConnections, Some(LONG));
        let client = tokio::spawn({
            let upstream = Arc::clone(&upstream);
            async move {
                let request = request(Purpose::Session { hello: None });
                let connected = upstream.connect(&request).await;
                connected.map(|connected| connected.lease.server().to_owned())
            }
        });
        let (mut left, _) = hanging.accept().await.unwrap();
        let failure = Failure::Timeout(A_CHECK);
        assert_eq!(failure.reason(), "greeting-timeout");
        let text = "it did not answer within the time of a health check";
        assert_eq!(
            failure.to_string(),
            text,
            "and not greeting_timeout, which is longer"
        );
        upstream.heed(&upstream.servers[0], &request(Purpose::Probe), Err(failure));
        let (mut stream, _) = other.accept().await.unwrap();
        stream.write_all(b"* OK hi\r\n").await.unwrap();
        assert_eq!(client.await.unwrap(), Ok(second));
        assert_eq!(left.read(&mut [0]).await.unwrap(), 0);
    }

    #[test]
    fn only_news_is_told_and_each_protocol_counts() {
        let health = Health::default();
        assert_eq!(health.up(), None);
        let change = |up, again| Some(Change { up, again });
        let steps = [
            (Asked::Spoken(Protocol::Imap), true, change(true, false)),
            (Asked::Spoken(Protocol::Imap), true, None),
            (Asked::Spoken(Protocol::Pop3), false, change(false, false)),
            (Asked::Spoken(Protocol::Imap), false, change(false, false)),
            (Asked::Untouched(Protocol::Imap), true, change(false, false)),
            (Asked::Spoken(Protocol::Imap), true, change(false, true)),
            (Asked::Spoken(Protocol::Pop3), true, change(true, true)),
        ];
        for (asked, answered, expected) in steps {
            assert_eq!(health.note(asked, answered), expected, "{asked:?}");
            assert_eq!(health.is_down(asked), !answered);
        }
        assert_eq!(health.up(), Some(true));
    }
}
