//! What senders will see of listeners that are named in MX records.

use crate::admin::api;
use crate::admin::service::Context;

impl Context {
    /// A warning for each listener with `mx = true` whose certificate of today would not be
    /// trusted: senders that go by MTA-STS demand that.
    pub fn mx_warnings(&self) -> Vec<String> {
        let config = self.config.load();
        let listeners = config.listeners.iter();
        let listeners = listeners.filter(|listener| listener.mx && listener.encryption.ends_here());
        let warnings = listeners.filter_map(|listener| {
            let asked = api::Explain {
                host: listener.hostname.as_ref().map(ToString::to_string),
                listener: Some(listener.name.clone()),
                ..api::Explain::default()
            };
            let served = self.explain(&asked).ok()?.winner;
            let name = asked
                .host
                .as_deref()
                .unwrap_or("senders that ask for no name");
            let served = match served {
                Some(winner) if matches!(winner.rank, 1 | 5) => return None,
                Some(winner) => format!("gets {:?}, of rank {}", winner.name, winner.rank),
                None => "gets no certificate".to_owned(),
            };
            Some(format!(
                "listener {:?}: mx = true, and {name} {served}: senders that demand a trusted \
                 certificate (rank 1 or 5) do not deliver",
                listener.name
            ))
        });
        warnings.collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use crate::admin::fixture::Fixture;
    use crate::config;
    use crate::store::Options;

    const CONFIG: &str = r#"
[[listener]]
name = "mx"
bind = ["127.0.0.1:9925"]
protocol = "smtp"
tls = "starttls-optional"
hostname = "mail.example.com"
mx = true
upstream = "old-mail"

[[listener]]
name = "other"
bind = ["127.0.0.1:9926"]
protocol = "smtp"
tls = "starttls-optional"
hostname = "other.example.com"
upstream = "old-mail"

[[upstream]]
name = "old-mail"
servers = ["127.0.0.1"]
client_address = "proxy-v2"
"#;

    #[test]
    fn who_is_not_trusted_by_senders_is_named() {
        let fixture = Fixture::new();
        let context = &fixture.context;
        let (config, _) = config::parse(CONFIG, &fixture.folder.path().join("proxy.toml")).unwrap();
        context.config.store(Arc::new(config));
        let warning = |served: &str| {
            format!(
                "listener \"mx\": mx = true, and mail.example.com gets {served}: senders that \
                 demand a trusted certificate (rank 1 or 5) do not deliver"
            )
        };
        assert_eq!(context.mx_warnings(), [warning("\"server\", of rank 9")]);
        let name = fixture.make("mail.example.com", 10);
        let self_signed = "\"mail.example.com\", of rank 2";
        assert_eq!(context.mx_warnings(), [warning(self_signed)]);

        let directory = fixture.folder.path().join("sslcert");
        fs::create_dir_all(directory.join("trust")).unwrap();
        let certificate = directory.join(format!("{name}.crt"));
        fs::copy(certificate, directory.join("trust/own.pem")).unwrap();
        let options = Options {
            directory,
            also: Vec::new(),
            order: context.config.load().certificates.order,
            trust: Vec::new(),
        };
        context.store.reload(options).unwrap();
        assert_eq!(context.mx_warnings(), [""; 0]);
    }
}
