//! Which clients our TLS cannot serve, known before anybody answers them.
//!
//! What rustls would refuse in a ClientHello for want of anything in common is refused here, and
//! nothing else; whether there is a certificate with the right kind of key is not asked.

use rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES;
use rustls::{CipherSuite, NamedGroup, ProtocolVersion, SignatureScheme, SupportedCipherSuite};

use crate::cert::ClientCapabilities;
use crate::tls::{Alert, Provider};
use crate::wire::client_hello::ClientHello;

/// Why a client cannot be served, whatever certificates there are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unsuited {
    /// It speaks none of our versions of TLS.
    Version,
    /// In the version that we share, it offers no suite, no group or no kind of signature that
    /// is ours.
    Parameters,
}

impl Unsuited {
    /// What is true to say to such a client.
    pub fn alert(self) -> Alert {
        match self {
            Self::Version => Alert::ProtocolVersion,
            Self::Parameters => Alert::HandshakeFailure,
        }
    }
}

impl Provider {
    /// Why a client with this ClientHello cannot be served; `None` if there is enough in common
    /// for a handshake, as far as its first message tells.
    pub fn unsuited(&self, hello: &ClientHello) -> Option<Unsuited> {
        let Some(version) = self.version(hello) else {
            return Some(Unsuited::Version);
        };
        let served = !hello.compressed_only
            && self.has_group_of(hello, version)
            && match version {
                ProtocolVersion::TLSv1_3 => self.can_speak_tls13(hello),
                _ => can_speak_tls12(hello),
            };
        (!served).then_some(Unsuited::Parameters)
    }

    /// The version that would be spoken. Without supported_versions everything from TLS 1.2 on
    /// means that one (RFC 8446 section 4.2.1).
    fn version(&self, hello: &ClientHello) -> Option<ProtocolVersion> {
        let tls12 = u16::from(ProtocolVersion::TLSv1_2);
        let versions = hello.supported_versions();
        // Ours stand in the order in which they are preferred.
        let mut ours = self.versions.iter().map(|version| version.version);
        ours.find(|version| match versions {
            [] => *version == ProtocolVersion::TLSv1_2 && hello.legacy_version >= tls12,
            _ => versions.contains(&u16::from(*version)),
        })
    }

    fn has_group_of(&self, hello: &ClientHello, version: ProtocolVersion) -> bool {
        self.crypto.kx_groups.iter().any(|group| {
            group.usable_for_version(version)
                && hello.named_groups().contains(&u16::from(group.name()))
        })
    }

    fn can_speak_tls13(&self, hello: &ClientHello) -> bool {
        let suite_in_common = self.crypto.cipher_suites.iter().any(|suite| {
            suite.tls13().is_some() && hello.cipher_suites().contains(&u16::from(suite.suite()))
        });
        let client = tls13_capabilities(&schemes(hello));
        suite_in_common && hello.key_share && !client.is_empty()
    }
}

fn can_speak_tls12(hello: &ClientHello) -> bool {
    let suites: Vec<_> = convert(hello.cipher_suites());
    let groups: Vec<_> = convert(hello.named_groups());
    let client = tls12_capabilities(&suites, &schemes(hello), Some(&groups));
    !hello.compressed_points_only && !client.is_empty()
}

fn schemes(hello: &ClientHello) -> Vec<SignatureScheme> {
    convert(hello.signature_schemes())
}

fn convert<T: From<u16>>(numbers: &[u16]) -> Vec<T> {
    numbers.iter().copied().map(T::from).collect()
}

/// The keys with which we can sign for a client in TLS 1.3, where PKCS #1 signatures are for
/// certificates only (RFC 8446 section 4.2.3).
pub(super) fn tls13_capabilities(schemes: &[SignatureScheme]) -> ClientCapabilities {
    let allowed = schemes.iter().filter(|scheme| !is_pkcs1(**scheme));
    ClientCapabilities::from_schemes(&allowed.copied().collect::<Vec<_>>())
}

/// The keys with which we can sign for a client in TLS 1.2: there each suite is for one kind of
/// key, and a curve must be among the client's groups.
pub(super) fn tls12_capabilities(
    suites: &[CipherSuite],
    schemes: &[SignatureScheme],
    groups: Option<&[NamedGroup]>,
) -> ClientCapabilities {
    let common = ALL_CIPHER_SUITES.iter().filter_map(|suite| match suite {
        SupportedCipherSuite::Tls12(tls12) if suites.contains(&suite.suite()) => Some(tls12.sign),
        _ => None,
    });
    let usable = common.flatten().filter(|scheme| schemes.contains(scheme));
    let usable: Vec<_> = usable.copied().collect();
    ClientCapabilities::from_schemes(&usable).without_curves_missing_from(groups)
}

fn is_pkcs1(scheme: SignatureScheme) -> bool {
    matches!(
        scheme,
        SignatureScheme::RSA_PKCS1_SHA256
            | SignatureScheme::RSA_PKCS1_SHA384
            | SignatureScheme::RSA_PKCS1_SHA512
    )
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::{Arc, LazyLock};
    use std::time::Duration;

    use proptest::option::weighted;
    use proptest::prelude::*;
    use proptest::sample::select;
    use rustls::{Error, PeerIncompatible as Peer};

    use super::*;
    use crate::cert::{
        CertIndex, Credential, LiveIndex, Order, TrustAnchors, UnknownName, read_bundle,
    };
    use crate::config::{Encryption, Legacy, Listener, Protocol, Tls, TlsVersion};
    use crate::time::Clock;
    use crate::tls::{ServerTls, Ticketer, TlsError};
    use crate::wire::client_hello::sample::Sample;

    /// One certificate for each kind of key.
    static INDEX: LazyLock<LiveIndex> = LazyLock::new(|| {
        let kinds = [
            &rcgen::PKCS_ECDSA_P256_SHA256,
            &rcgen::PKCS_ECDSA_P384_SHA384,
            &rcgen::PKCS_ECDSA_P521_SHA512,
            &rcgen::PKCS_RSA_SHA256,
            &rcgen::PKCS_ED25519,
        ];
        let credentials = kinds.into_iter().enumerate().map(|(n, kind)| {
            let key = rcgen::KeyPair::generate_for(kind).unwrap();
            let params = rcgen::CertificateParams::new(["a.example".to_owned()]).unwrap();
            let pem = params.self_signed(&key).unwrap().pem() + &key.serialize_pem();
            let bundle = read_bundle(pem.as_bytes()).unwrap();
            let (name, anchors) = (n.to_string(), TrustAnchors::new());
            Credential::new(&name, bundle.certificates, &bundle.keys, &anchors).unwrap()
        });
        let credentials = credentials.map(Arc::new).collect();
        LiveIndex::new(CertIndex::new(credentials, Some("0"), Order::Kerio))
    });

    /// Our TLS, for each oldest version, with and without post-quantum groups.
    static SERVERS: LazyLock<Vec<ServerTls>> = LazyLock::new(|| {
        let old = [TlsVersion::V1_2, TlsVersion::V1_3];
        let all = old.into_iter().flat_map(|min| [(min, false), (min, true)]);
        all.map(|(min_version, post_quantum)| server(min_version, post_quantum))
            .collect()
    });

    fn server(min_version: TlsVersion, post_quantum: bool) -> ServerTls {
        let listener = Listener {
            name: "test".into(),
            bind: Vec::new(),
            protocol: Protocol::Tcp,
            encryption: Encryption::Implicit,
            hostname: None,
            upstream: None,
            accept_proxy_from: Vec::new(),
            unknown_name: UnknownName::Default,
            idle_timeout: Duration::from_secs(60),
            legacy: Legacy::Refuse,
            mx: false,
            trusted_proxies: Vec::new(),
            max_body: None,
            allow: Vec::new(),
            deny: Vec::new(),
        };
        let provider = Provider::new(&Tls {
            min_version,
            post_quantum,
        });
        let ticketer = Ticketer::new(Clock::System).unwrap();
        ServerTls::new(&provider, &listener, ticketer, INDEX.clone(), Clock::System).unwrap()
    }

    /// What rustls makes of it.
    fn answer(server: &ServerTls, sample: &Sample) -> Result<(), TlsError> {
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let mut handshake = server.handshake(&sample.hello(), None, local).unwrap();
        let mut control = Vec::new();
        let opened = handshake.advance(&mut sample.record(), &mut control);
        assert!(!control.is_empty());
        opened.map(drop)
    }

    /// What we should have known, from the answer of rustls; `None` where it found a fault of
    /// another kind, so that anything may have been known.
    fn expected(answer: &Result<(), TlsError>) -> Option<&'static [Option<Unsuited>]> {
        const VERSION: Option<Unsuited> = Some(Unsuited::Version);
        const PARAMETERS: Option<Unsuited> = Some(Unsuited::Parameters);
        match answer {
            Ok(()) => Some(&[None]),
            Err(TlsError::NoUsableKey) => Some(&[PARAMETERS]),
            Err(TlsError::Rustls(Error::PeerIncompatible(why))) => Some(match why {
                Peer::Tls12NotOffered
                | Peer::Tls12NotOfferedOrEnabled
                | Peer::SupportedVersionsExtensionRequired => &[VERSION],
                // Looked at before the version.
                Peer::SignatureAlgorithmsExtensionRequired | Peer::NullCompressionRequired => {
                    &[VERSION, PARAMETERS]
                }
                _ => &[PARAMETERS],
            }),
            Err(_) => None,
        }
    }

    fn assert_agreement(sample: &Sample) {
        for (n, server) in SERVERS.iter().enumerate() {
            let answer = answer(server, sample);
            let known = server.unsuited(&sample.hello());
            let agreed = expected(&answer).is_none_or(|expected| expected.contains(&known));
            assert!(
                agreed,
                "server {n}: {known:?}, but {answer:?} for {sample:?}"
            );
        }
    }

    /// Some of the numbers in any order; half of the times so few that something is missing.
    fn some_of(all: &'static [u16]) -> impl Strategy<Value = Vec<u16>> {
        let most = prop_oneof![Just(all.len()), 1..4_usize];
        let order = Just(all.to_vec()).prop_shuffle();
        (order, most).prop_map(|(mut list, most)| {
            list.truncate(most);
            list
        })
    }

    fn suites() -> impl Strategy<Value = Vec<u16>> {
        some_of(&[
            0x1301, 0x1302, 0x1303, 0xc02b, 0xc02c, 0xc02f, 0xc030, 0xcca8, 0xcca9, 0xc013, 0xc009,
            0x002f, 0x009c, 0x009e, 0x00ff, 0x5600, 0x0a0a,
        ])
    }

    fn schemes() -> impl Strategy<Value = Vec<u16>> {
        some_of(&[
            0x0401, 0x0501, 0x0601, 0x0403, 0x0503, 0x0603, 0x0804, 0x0805, 0x0806, 0x0807, 0x0201,
            0x0203, 0x0808, 0x0809, 0x0402,
        ])
    }

    /// Extensions, the optional ones missing now and then.
    fn extended(sample: Sample) -> impl Strategy<Value = Sample> {
        let versions = some_of(&[0x0304, 0x0303, 0x0302, 0x0301, 0x0a0a, 0x7f1c]);
        let groups = some_of(&[0x17, 0x18, 0x19, 0x1d, 0x1e, 0x0100, 0x11ec, 0x0a0a]);
        let formats = select(vec![&[0][..], &[0, 1, 2], &[1, 0], &[1, 2]]);
        (
            weighted(0.6, versions),
            weighted(0.9, groups),
            weighted(0.9, schemes()),
            weighted(0.5, formats),
            weighted(0.9, any::<bool>()),
            any::<bool>(),
        )
            .prop_map(move |(versions, groups, schemes, formats, share, ems)| {
                let mut sample = sample.clone();
                if let Some(share) = share {
                    let x25519 = groups.as_ref().is_some_and(|groups| groups.contains(&0x1d));
                    sample = sample.key_share(share && x25519);
                }
                if ems {
                    sample = sample.extension(23, &[]);
                }
                if let Some(formats) = formats {
                    sample = sample.point_formats(formats);
                }
                for (list, add) in [
                    (versions, Sample::versions as fn(Sample, &[u16]) -> Sample),
                    (groups, Sample::groups),
                    (schemes, Sample::schemes),
                ] {
                    sample = match list {
                        Some(list) => add(sample, &list),
                        None => sample,
                    };
                }
                sample
            })
    }

    fn samples() -> impl Strategy<Value = Sample> {
        let version = prop_oneof![4 => Just(0x0303), 1 => 0x0300..0x0305_u16, 1 => Just(0xfeff)];
        let compressions =
            prop_oneof![8 => Just(vec![0]), 1 => Just(vec![1, 0]), 1 => Just(vec![1])];
        (version, suites(), compressions).prop_flat_map(|(version, suites, compressions)| {
            extended(Sample {
                compressions,
                ..Sample::new(version, &suites)
            })
        })
    }

    proptest! {
        #[test]
        fn exactly_those_are_unsuited_that_rustls_refuses(sample in samples()) {
            assert_agreement(&sample);
        }
    }

    const SHA1_TOO: &[u16] = &[0x0401, 0x0403, 0x0501, 0x0503, 0x0201, 0x0203];

    fn openssl_1_0_1() -> Sample {
        Sample::new(0x0303, &[0xc02f, 0xc02b, 0xc013, 0x002f])
            .groups(&[0x17, 0x18])
            .schemes(SHA1_TOO)
            .point_formats(&[0, 1, 2])
    }

    fn browser() -> Sample {
        Sample::new(0x0303, &[0x1302, 0x1301, 0xc02f])
            .versions(&[0x0304, 0x0303])
            .groups(&[0x11ec, 0x1d, 0x17])
            .schemes(&[0x0403, 0x0804, 0x0401])
            .key_share(true)
    }

    fn too_old() -> Vec<(&'static str, Sample)> {
        let old = |version: u16| Sample::new(version, &[0x39, 0x38, 0x35, 0x16, 0x0a, 0xff]);
        vec![
            ("SSL 3", old(0x0300)),
            ("OpenSSL 0.9.8", old(0x0301).extension(35, &[])),
            ("Windows XP", Sample::new(0x0301, &[4, 5, 0x0a, 9])),
            (
                "with curves",
                old(0x0302).groups(&[0x17]).point_formats(&[0]),
            ),
            ("held down", browser().versions(&[0x0302, 0x0301])),
            ("of the future", browser().versions(&[0x0305])),
        ]
    }

    fn unfit_for_tls12() -> Vec<(&'static str, Sample)> {
        let client = openssl_1_0_1;
        vec![
            ("no signature schemes", client().without(13)),
            ("no groups", client().without(10)),
            (
                "CBC",
                client().suites(&[0xc013, 0xc014, 0xc027, 0x2f, 0x3c]),
            ),
            (
                "static RSA and DHE",
                client().suites(&[0x9c, 0x9d, 0x9e, 0x9f]),
            ),
            ("SHA-1", client().schemes(&[0x0201, 0x0203])),
            (
                "RSA for ECDSA",
                client().suites(&[0xc02b]).schemes(&[0x0401]),
            ),
            (
                "PSS for ECDSA",
                client().suites(&[0xc02b, 0x1301]).schemes(&[0x0804]),
            ),
            ("P-521", client().groups(&[0x19])),
            ("post-quantum", client().groups(&[0x11ec])),
            (
                "P-384 not named",
                client().groups(&[0x17]).schemes(&[0x0503]),
            ),
            ("compressed points", client().point_formats(&[1, 2])),
            (
                "compression",
                Sample {
                    compressions: vec![1],
                    ..client()
                },
            ),
        ]
    }

    fn unfit_for_tls13() -> Vec<(&'static str, Sample)> {
        vec![
            ("no key share", browser().without(51)),
            ("PKCS #1", browser().schemes(&[0x0401, 0x0501])),
            ("suites of TLS 1.2", browser().suites(&[0xc02f])),
            (
                "finite fields",
                browser().groups(&[0x0100]).key_share(false),
            ),
        ]
    }

    /// Clients as they are out there, with what is said of them where TLS 1.2 is the oldest
    /// version, and where TLS 1.3 is.
    #[test]
    fn clients_of_all_ages() {
        const VERSION: Option<Unsuited> = Some(Unsuited::Version);
        const PARAMETERS: Option<Unsuited> = Some(Unsuited::Parameters);
        let served = vec![
            ("a browser", browser()),
            ("again", browser().key_share(false)),
        ];
        let cases = [
            (too_old(), VERSION, VERSION),
            (vec![("OpenSSL 1.0.1", openssl_1_0_1())], None, VERSION),
            (unfit_for_tls12(), PARAMETERS, VERSION),
            (unfit_for_tls13(), PARAMETERS, PARAMETERS),
            (served, None, None),
        ];
        for (clients, from_1_2, from_1_3) in cases {
            for (title, sample) in clients {
                let hello = sample.hello();
                let said: Vec<_> = SERVERS.iter().map(|s| s.unsuited(&hello)).collect();
                assert_eq!(said, [from_1_2, from_1_2, from_1_3, from_1_3], "{title}");
                assert_agreement(&sample);
            }
        }
    }

    #[test]
    fn each_is_told_what_is_true() {
        assert_eq!(Unsuited::Version.alert().record()[5..], [2, 70]);
        assert_eq!(Unsuited::Parameters.alert().record()[5..], [2, 40]);
    }
}
