//! That choosing a certificate allocates nothing. In a binary of its own: its allocator counts.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::sync::Arc;
use std::time::Duration;

use allocation_counter::measure;
use gatepost::cert::{
    CertIndex, ClientCapabilities, ClientKind, Credential, DnsName, KeyAlgorithm, LiveIndex,
    NamePattern, NewCertificate, Order, Query, Selected, Subject, TrustAnchors, UnknownName,
    read_bundle, self_signed,
};
use rustls_pki_types::UnixTime;

const CERTIFICATES: usize = 200;

fn now() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000))
}

fn credential(number: usize) -> Arc<Credential> {
    let names = [
        format!("host-{number}.example"),
        format!("*.domain-{number}.example"),
    ];
    let new = NewCertificate {
        names: names.map(|name| NamePattern::parse(&name).unwrap()).into(),
        addresses: Vec::new(),
        subject: Subject::default(),
        days: 30,
        key: KeyAlgorithm::default(),
    };
    let (chain, key) = self_signed(&new, now()).unwrap();
    let bundle = read_bundle(format!("{chain}{key}").as_bytes()).unwrap();
    let name = format!("certificate-{number}");
    let anchors = TrustAnchors::new();
    Arc::new(Credential::new(&name, bundle.certificates, &bundle.keys, &anchors).unwrap())
}

/// What is chosen for a name, made ready for rustls, and how often that allocated.
fn choose(live: &LiveIndex, name: &str, client: ClientKind) -> (Option<String>, u64) {
    let name = DnsName::parse(name).unwrap();
    let query = Query {
        server_name: Some(&name),
        assumed: None,
        local: None,
        client: ClientCapabilities::from(client),
        unknown_name: UnknownName::Default,
    };
    let mut chosen = None;
    let counted = measure(|| {
        let index = live.load();
        if let Selected::Served(selection) = index.select(&query, now()) {
            let credential = Arc::clone(selection.credential);
            let ready = Arc::clone(credential.certified_key());
            chosen = Some((credential, ready));
        }
    });
    let name = chosen.map(|(credential, _)| credential.name.to_string());
    (name, counted.count_total)
}

#[test]
fn choosing_a_certificate_allocates_nothing() {
    let credentials: Vec<_> = (0..CERTIFICATES).map(credential).collect();
    for default in [Some("certificate-0"), None] {
        let index = CertIndex::new(credentials.clone(), default, Order::Kerio);
        let live = LiveIndex::new(index);
        for (name, client, served) in [
            ("host-7.example", ClientKind::Modern, Some("certificate-7")),
            (
                "a.domain-8.example",
                ClientKind::Modern,
                Some("certificate-8"),
            ),
            ("host-7.example", ClientKind::RsaOnly, None),
            ("unknown.example", ClientKind::RsaOnly, None),
        ] {
            // The first one to be served is made ready for it.
            choose(&live, name, client);
            let served = served.map(str::to_owned);
            assert_eq!(choose(&live, name, client), (served, 0), "{name}");
        }
        choose(&live, "unknown.example", ClientKind::Modern);
        let (served, allocations) = choose(&live, "unknown.example", ClientKind::Modern);
        assert!(served.is_some() && allocations == 0, "{allocations}");
    }
}
