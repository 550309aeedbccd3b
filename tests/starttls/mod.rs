//! STARTTLS and implicit TLS before real mail servers, the word that these get about the client, and
//! what becomes of those who forge and inject.

mod clients;
mod forged;
mod groups;
mod injected;
mod late;
mod legacy;
mod port_25;
mod sessions;
mod told;
mod transparent;
mod upstream_tls;
mod words;

use std::net::SocketAddr;
use std::path::Path;

use crate::common::ca::{Pair, TestCa};
use crate::common::client::Client;
use crate::common::dovecot::Dovecot;
use crate::common::gatepost::Gatepost;
use crate::common::process::{Outcome, run};
use crate::common::wait;

/// The name that clients ask for.
const NAME: &str = "mail.example.org";

/// Another name, with a certificate of its own, for clients that look a name up by themselves.
const OTHER: &str = "localhost";

/// The name by which a client greets an SMTP server.
const HELO: &str = "client.example.com";

/// A `[[listener]]`; its name is unique.
fn listener(name: &str, protocol: &str, tls: &str, upstream: &str) -> String {
    format!(
        r#"
[[listener]]
name = "{name}"
bind = ["127.0.0.1:0"]
protocol = "{protocol}"
tls = "{tls}"
upstream = "{upstream}"
"#
    )
}

/// An `[[upstream]]`.
fn upstream(name: &str, server: impl ToString, client_address: &str) -> String {
    let server = server.to_string();
    format!(
        r#"
[[upstream]]
name = "{name}"
servers = ["{server}"]
client_address = "{client_address}"
"#
    )
}

/// Both ways to TLS before one server: listeners PROTOCOL-starttls and PROTOCOL-implicit.
fn both(protocol: &str, server: impl ToString, client_address: &str) -> String {
    ["starttls", "implicit"]
        .map(|tls| listener(&format!("{protocol}-{tls}"), protocol, tls, protocol))
        .concat()
        + &upstream(protocol, server, client_address)
}

/// Where a Dovecot with TLS of its own begins it in this way.
fn own_tls(dovecot: &Dovecot, protocol: &str, tls: &str) -> SocketAddr {
    match tls {
        "starttls" => dovecot.at(protocol),
        _ => dovecot.at_tls(protocol),
    }
}

/// The proxy, with a certificate for each of the two names.
struct Front {
    gatepost: Gatepost,
    ca: TestCa,
}

impl Front {
    fn start(configuration: &str) -> Self {
        Self::with(TestCa::today(), configuration)
    }

    /// With an authority that has signed for others before.
    fn with(ca: TestCa, configuration: &str) -> Self {
        let (mail, other) = (certificate(&ca, NAME), certificate(&ca, OTHER));
        let certificates = [("mail", &mail), ("other", &other)];
        let gatepost = Gatepost::start(&ca, &certificates, configuration);
        Self { gatepost, ca }
    }

    fn port(&self, listener: &str) -> String {
        self.gatepost.address(listener).port().to_string()
    }

    /// The file with the trust anchor.
    fn authority(&self) -> String {
        self.gatepost.site.path("root.pem").display().to_string()
    }

    /// A client of Python's library, as this user; `listener` ends in the way to TLS.
    fn python(&self, client: &str, listener: &str, user: &str, more: &[&str]) -> Outcome {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/clients/{client}"));
        let (_, tls) = listener.rsplit_once('-').unwrap();
        let (port, authority) = (self.port(listener), self.authority());
        let arguments = [script.to_str().unwrap(), tls, NAME, &port, &authority, user];
        run("python3", arguments.iter().chain(more), b"")
    }

    /// A client in clear that has read nothing yet.
    fn plain(&self, listener: &str) -> Client {
        Client::plain(self.gatepost.address(listener))
    }

    /// A client over implicit TLS that has read nothing yet.
    #[track_caller]
    fn after_handshake(&self, listener: &str) -> Client {
        Client::tls(self.gatepost.address(listener), NAME, &self.ca)
    }

    /// A client on TLS whose turn it is; `listener` ends in the way to TLS, which is STARTTLS if it
    /// does not.
    #[track_caller]
    fn over_tls(&self, listener: &str, protocol: &str) -> Client {
        if listener.ends_with("-implicit") {
            let mut client = self.after_handshake(listener);
            words::greeting(&mut client, protocol);
            return client;
        }
        self.secure(self.plain(listener), protocol, NAME)
    }

    /// The same with a client that has said nothing yet, by STARTTLS, for this name.
    #[track_caller]
    fn secure(&self, mut client: Client, protocol: &str, name: &str) -> Client {
        words::ask_for_tls(&mut client, protocol);
        let mut client = client.secure(name, &self.ca);
        if protocol == "managesieve" {
            words::greeting(&mut client, protocol);
        }
        client
    }

    /// Waits until a counter is at `times`, and no further.
    #[track_caller]
    fn counted(&self, series: &str, times: u32) {
        let count = || self.gatepost.metric(series).unwrap_or_default();
        wait::until(&format!("{series} to be {times}"), || {
            count() >= f64::from(times)
        });
        assert!(count() <= f64::from(times), "{series}: {}", count());
    }

    /// Waits until a server of this upstream could not be used for this reason.
    #[track_caller]
    fn upstream_failed(&self, upstream: &str, reason: &str) {
        let labels = format!("reason=\"{reason}\",upstream=\"{upstream}\"");
        let series = format!("gatepost_upstream_errors_total{{{labels}}}");
        wait::until(&format!("{series} to be counted"), || {
            self.gatepost
                .metric(&series)
                .is_some_and(|count| count > 0.0)
        });
    }
}

fn certificate(ca: &TestCa, name: &str) -> Pair {
    ca.leaf(&[name]).issue()
}
