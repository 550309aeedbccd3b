//! The lines to change: in `proxy.toml`, in the server, or on this host.
//!
//! Knows the words of Dovecot, Postfix, Exim and Kerio Connect. Where it is not known what a
//! server is, there are lines for each that it can be.

use std::net::IpAddr;

use crate::config::{ClientAddress, Protocol, ServerAddress, Upstream, UpstreamEncryption};
use crate::probe::report::{Place, Remedy};
use crate::probe::software::Software;

/// Whom advice is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Advisor<'a> {
    pub(super) upstream: &'a Upstream,
    pub(super) server: &'a ServerAddress,
    pub(super) protocol: Protocol,
    /// What the server is, if that is known.
    pub(super) software: Option<Software>,
    /// Our address as the server sees it.
    pub(super) us: IpAddr,
    /// Whether the server is a Postfix that lets postscreen greet.
    pub(super) postscreen: bool,
}

/// What is known of a server that offers no login.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HiddenLogin {
    /// It offers STARTTLS.
    pub(super) starttls: bool,
    /// In TLS of its own it would offer login; `None` if that was not tried.
    pub(super) in_tls: Option<bool>,
}

impl Advisor<'_> {
    /// A line for `proxy.toml`.
    fn proxy(&self, line: impl Into<String>) -> Remedy {
        Remedy::one(self.table(), [line.into()])
    }

    fn table(&self) -> Place {
        Place::Proxy(self.upstream.name.clone())
    }

    fn client_address(&self, word: &str) -> Remedy {
        self.proxy(format!("client_address = \"{word}\""))
    }

    /// A PROXY header for a server that expects one.
    pub(super) fn send_header(&self) -> Vec<Remedy> {
        vec![self.client_address("proxy-v2")]
    }

    /// A server that is to expect a PROXY header, or a proxy that sends none.
    pub(super) fn header_not_expected(&self) -> Vec<Remedy> {
        let mut remedies = self.for_each(Self::expects_header);
        if self.software == Some(Software::Kerio) {
            remedies.push(self.client_address("transparent"));
        }
        remedies.push(self.client_address("none"));
        remedies
    }

    /// A server that closes whatever it is told: it may not believe our address.
    pub(super) fn header_not_believed(&self) -> Vec<Remedy> {
        match self.likely().contains(&Software::Dovecot) {
            true => vec![Remedy::one(Place::Dovecot, [self.trusted("haproxy")])],
            false => Vec::new(),
        }
    }

    /// `haproxy_trusted_networks` or `login_trusted_networks` with our address.
    fn trusted(&self, whom: &str) -> String {
        format!("{whom}_trusted_networks = {}", self.us)
    }

    fn expects_header(&self, software: Software) -> Option<Remedy> {
        let us = self.us;
        match software {
            Software::Dovecot => Some(Remedy::one(Place::Dovecot, self.dovecot_header()?)),
            Software::Postfix if self.postscreen => {
                Some(self.postfix(&["postscreen_upstream_proxy_protocol=haproxy"]))
            }
            Software::Postfix => Some(self.postfix(&["smtpd_upstream_proxy_protocol=haproxy"])),
            Software::Exim => Some(Remedy::one(Place::Exim, [format!("hosts_proxy = {us}")])),
            Software::Kerio => None,
        }
    }

    fn dovecot_header(&self) -> Option<Vec<String>> {
        let (service, listener) = match self.protocol {
            Protocol::Imap => ("imap-login", "imap"),
            Protocol::Pop3 => ("pop3-login", "pop3"),
            Protocol::Submission => ("submission-login", "submission"),
            Protocol::ManageSieve => ("managesieve-login", "sieve"),
            Protocol::Smtp | Protocol::Http | Protocol::Tcp => return None,
        };
        let secure = match self.upstream.encryption {
            UpstreamEncryption::Implicit => "s",
            UpstreamEncryption::Off | UpstreamEncryption::StartTls => "",
        };
        Some(vec![
            self.trusted("haproxy"),
            format!("service {service} {{"),
            format!("  # the one on port {}, whatever it is called", self.port()),
            format!("  inet_listener {listener}{secure} {{"),
            "    haproxy = yes".to_owned(),
            "  }".to_owned(),
            "}".to_owned(),
        ])
    }

    fn postfix(&self, options: &[&str]) -> Remedy {
        let lines = options.iter().map(|option| format!("  -o {option}"));
        Remedy::one(Place::PostfixMaster(self.port()), lines)
    }

    /// The server does not let this host say who the client is.
    pub(super) fn xclient_not_offered(&self) -> Vec<Remedy> {
        let us = self.us;
        let mut remedies = self.for_each(|_, software| match software {
            Software::Dovecot => Some(Remedy::one(Place::Dovecot, [self.trusted("login")])),
            Software::Postfix => {
                let line = format!("smtpd_authorized_xclient_hosts = {us}");
                Some(Remedy::one(Place::PostfixMain, [line]))
            }
            Software::Exim => Some(Remedy::one(Place::Exim, [format!("hosts_xclient = {us}")])),
            Software::Kerio => None,
        });
        if remedies.is_empty() {
            remedies.push(self.client_address("transparent"));
        }
        remedies
    }

    /// What hosts say of clients is believed if Dovecot knows the hosts.
    fn trusted_login(&self) -> Vec<Remedy> {
        vec![Remedy::one(Place::Dovecot, [self.trusted("login")])]
    }

    /// The server does not offer login, for it does not know that clients are on TLS.
    pub(super) fn login_hidden(&self, hidden: HiddenLogin) -> Vec<Remedy> {
        let mut remedies = Vec::new();
        for software in self.likely() {
            match software {
                Software::Dovecot => remedies.extend(self.dovecot_login(hidden)),
                Software::Postfix => remedies.push(self.postfix_login(hidden)),
                Software::Exim => remedies.push(self.exim_login()),
                Software::Kerio => remedies.extend(self.kerio_login()),
            }
        }
        if hidden.in_tls == Some(true) {
            remedies.push(self.proxy("tls = \"starttls\""));
        }
        remedies
    }

    /// With a PROXY header of version 2 Dovecot knows who is on TLS; the addresses of
    /// `login_trusted_networks` it believes to be; else it has to take passwords from everybody.
    fn dovecot_login(&self, hidden: HiddenLogin) -> Vec<Remedy> {
        let mut remedies = Vec::new();
        match self.upstream.client_address {
            ClientAddress::ProxyV1 => remedies.extend(self.send_header()),
            ClientAddress::Xclient | ClientAddress::ImapId => remedies.extend(self.trusted_login()),
            ClientAddress::None => {
                if let Some(lines) = self.dovecot_header() {
                    let line = "client_address = \"proxy-v2\"";
                    let remedy = Remedy::one(Place::Dovecot, lines);
                    remedies.push(remedy.and(self.table(), [line]));
                }
                remedies.extend(self.trusted_login());
            }
            ClientAddress::ProxyV2 | ClientAddress::Transparent => {}
        }
        let mut lines = vec![
            "# in Dovecot 2.4: auth_allow_cleartext = yes",
            "disable_plaintext_auth = no",
        ];
        if hidden.starttls {
            // `required` takes no password in clear either.
            lines.push("ssl = yes");
        }
        remedies.push(Remedy::one(Place::Dovecot, lines));
        remedies
    }

    /// Login is offered to whom it is not said that the client is on TLS: by the header, which
    /// nobody else may send, or by our address.
    fn exim_login(&self) -> Remedy {
        let ours = match self.upstream.client_address {
            ClientAddress::ProxyV1 | ClientAddress::ProxyV2 => "bool{$proxy_session}".to_owned(),
            ClientAddress::Transparent => "true".to_owned(),
            _ => format!("eq{{$sender_host_address}}{{{}}}", self.us),
        };
        let condition = format!("${{if or{{{{def:tls_in_cipher}}{{{ours}}}}}}}");
        Remedy::one(Place::Exim, ["auth_advertise_hosts = *"]).and(
            Place::EximAuthenticator,
            [format!("server_advertise_condition = {condition}")],
        )
    }

    /// It takes passwords on its TLS ports always.
    fn kerio_login(&self) -> [Remedy; 2] {
        let policy = self.kerio(
            "Security > Security Policy: add {us} to the IP address group that may authenticate \
             insecurely",
        );
        let mut lines = vec!["tls = \"implicit\"".to_owned()];
        lines.extend(self.servers_at(self.protocol.tls_port()));
        [policy, Remedy::one(self.table(), lines)]
    }

    fn postfix_login(&self, hidden: HiddenLogin) -> Remedy {
        let mut options = vec!["smtpd_tls_security_level=none", "smtpd_tls_auth_only=no"];
        if hidden.in_tls != Some(true) {
            options.push("smtpd_sasl_auth_enable=yes");
        }
        self.postfix(&options)
    }

    /// The server demands TLS before it takes mail.
    pub(super) fn demands_tls(&self) -> Vec<Remedy> {
        let mut remedies = Vec::new();
        if self.likely().contains(&Software::Postfix) {
            remedies.push(self.postfix(&["smtpd_tls_security_level=none"]));
        }
        remedies.push(self.proxy("tls = \"starttls\""));
        remedies
    }

    /// The server relays for everybody. `told`: it knows who the client is.
    pub(super) fn open_relay(&self, told: bool) -> Vec<Remedy> {
        let mut remedies = self.for_each(|_, software| match software {
            Software::Postfix if told => {
                let rule = "permit_sasl_authenticated,reject_unauth_destination";
                Some(self.postfix(&[&format!("smtpd_relay_restrictions={rule}")]))
            }
            Software::Postfix => Some(self.postfix(&["mynetworks="])),
            Software::Exim => Some(Remedy::one(Place::Exim, ["hostlist relay_from_hosts ="])),
            Software::Kerio => Some(self.kerio(
                "SMTP Server > Relay Control: select \"Allow relay only for\", and take {us} out \
                 of the group of \"Users from IP address group\"",
            )),
            Software::Dovecot => None,
        });
        if !told {
            let and_send =
                |remedy: Remedy| remedy.and(self.table(), ["client_address = \"proxy-v2\""]);
            remedies.extend(
                self.for_each(Self::expects_header)
                    .into_iter()
                    .map(and_send),
            );
            if self.software == Some(Software::Kerio) {
                remedies.push(self.client_address("transparent"));
            }
        }
        remedies
    }

    /// The TLS that the server has is of no use to us.
    pub(super) fn without_tls(&self) -> Vec<Remedy> {
        let mut lines = vec!["tls = \"off\"".to_owned()];
        if self.upstream.encryption == UpstreamEncryption::Implicit {
            lines.extend(self.servers_at(self.protocol.plaintext_port()));
        }
        vec![Remedy::one(self.table(), lines)]
    }

    /// The servers at this port, if the configuration names others.
    fn servers_at(&self, port: Option<u16>) -> Option<String> {
        let servers = &self.upstream.servers;
        let is_named =
            |server: &ServerAddress| matches!(server, ServerAddress::Tcp { port: Some(_), .. });
        if port.is_none() || !servers.iter().any(is_named) {
            return None;
        }
        let at_port = |server: &ServerAddress| match server {
            ServerAddress::Tcp {
                host,
                port: Some(_),
            } => ServerAddress::Tcp {
                host: host.clone(),
                port,
            },
            server => server.clone(),
        };
        let servers = servers
            .iter()
            .map(|server| format!("\"{}\"", at_port(server)));
        Some(format!(
            "servers = [{}]",
            servers.collect::<Vec<_>>().join(", ")
        ))
    }

    /// The server speaks in clear where TLS was expected.
    pub(super) fn in_clear(&self, offers_starttls: bool) -> Vec<Remedy> {
        let word = match offers_starttls {
            true => "starttls",
            false => "off",
        };
        vec![self.proxy(format!("tls = \"{word}\""))]
    }

    /// The one certificate that is to be accepted.
    pub(super) fn pin(&self, pin: &str) -> Vec<Remedy> {
        vec![self.proxy(format!("pin = \"{pin}\""))]
    }

    /// The name that the certificate is for.
    pub(super) fn server_name(&self, name: &str) -> Vec<Remedy> {
        vec![self.proxy(format!("server_name = \"{name}\""))]
    }

    /// Something to be done with the mouse; `{us}` is our address.
    fn kerio(&self, text: &str) -> Remedy {
        let us = self.us.to_string();
        let line = format!("Configuration > {}", text.replace("{us}", &us));
        Remedy::one(Place::Kerio, [line])
    }

    fn for_each(&self, remedy: impl Fn(&Self, Software) -> Option<Remedy>) -> Vec<Remedy> {
        let likely = self.likely().into_iter();
        likely
            .filter_map(|software| remedy(self, software))
            .collect()
    }

    /// What the server is, or can be.
    fn likely(&self) -> Vec<Software> {
        if let Some(software) = self.software {
            return vec![software];
        }
        let speaks = |software: &Software| match (software, self.protocol) {
            (_, Protocol::Http | Protocol::Tcp) => false,
            (Software::Dovecot, protocol) => protocol != Protocol::Smtp,
            (Software::Postfix | Software::Exim, protocol) => {
                matches!(protocol, Protocol::Smtp | Protocol::Submission)
            }
            (Software::Kerio, protocol) => protocol != Protocol::ManageSieve,
        };
        Software::ALL.into_iter().filter(speaks).collect()
    }

    /// The server's host, as it is written in the configuration.
    pub(super) fn host(&self) -> String {
        match self.server {
            ServerAddress::Tcp { host, .. } => host.clone(),
            ServerAddress::Unix(path) => path.display().to_string(),
        }
    }

    /// Where the server listens.
    fn port(&self) -> u16 {
        let default = match self.upstream.encryption {
            UpstreamEncryption::Implicit => self.protocol.tls_port(),
            UpstreamEncryption::Off | UpstreamEncryption::StartTls => {
                self.protocol.plaintext_port()
            }
        };
        match self.server {
            ServerAddress::Tcp {
                port: Some(port), ..
            } => *port,
            _ => default.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests;
