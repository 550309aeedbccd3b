//! What bytes are, by their first elements, and what they are called when they are of no use.

use x509_parser::asn1_rs::Tag;

use crate::cert::input::asn1::Fields;

/// What one DER element is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Form {
    Certificate,
    Pkcs7,
    Pkcs12,
    Pkcs8,
    EncryptedPkcs8,
    Pkcs1,
    Sec1,
    /// Known, and neither a certificate nor a key that can be used.
    Other(&'static str),
    Unknown,
}

/// Arc of the content types of PKCS#7.
const PKCS7: &str = "1.2.840.113549.1.7.";

impl Form {
    /// Looks at the first element. A closer look is for those who read it.
    pub(super) fn of(der: &[u8]) -> Self {
        let Some(fields) = Fields::new(der).sequence() else {
            return Self::Unknown;
        };
        let mut copy = fields;
        if copy.oid().is_some_and(|oid| oid.starts_with(PKCS7)) {
            return Self::Pkcs7;
        }
        let mut first = fields;
        let Some(first) = first.next() else {
            return Self::Unknown;
        };
        if first.is(Tag::Integer) {
            return Self::after_a_number(first.number(), fields);
        }
        match first.elements(Tag::Sequence) {
            Some(inner) => Self::after_a_sequence(inner, fields),
            None => Self::Unknown,
        }
    }

    fn after_a_number(number: Option<u64>, mut fields: Fields<'_>) -> Self {
        const PARTS_OF_A_DSA_KEY: usize = 6;
        fields.next();
        let Some(second) = fields.next() else {
            return Self::Unknown;
        };
        match number {
            Some(3) if second.is(Tag::Sequence) => Self::Pkcs12,
            Some(0 | 1) if second.is(Tag::Sequence) => Self::Pkcs8,
            Some(1) if second.is(Tag::OctetString) => Self::Sec1,
            Some(0 | 1) if second.is(Tag::Integer) => {
                let others = std::iter::from_fn(|| fields.next()).take(PARTS_OF_A_DSA_KEY);
                match others.count() + 2 {
                    PARTS_OF_A_DSA_KEY => Self::Other("a DSA key"),
                    _ => Self::Pkcs1,
                }
            }
            Some(_) | None if second.is(Tag::Integer) => Self::Other("a public key"),
            _ => Self::Unknown,
        }
    }

    /// Certificates, requests and revocation lists are signed in the same way; what is signed
    /// tells them apart.
    fn after_a_sequence(inner: Fields<'_>, mut fields: Fields<'_>) -> Self {
        fields.next();
        let Some(second) = fields.next() else {
            return Self::Unknown;
        };
        if second.is(Tag::OctetString) {
            return Self::EncryptedPkcs8;
        }
        if second.is(Tag::BitString) {
            return Self::Other("a public key");
        }
        let mut tagged = inner;
        if tagged.tagged(0).is_some() {
            return Self::Certificate;
        }
        let mut kinds = [None; 4];
        let mut rest = inner;
        for kind in &mut kinds {
            *kind = rest.next().map(|field| field.is(Tag::Sequence));
        }
        let attributes = {
            let mut fields = inner;
            (0..3).for_each(|_| drop(fields.next()));
            fields.tagged(0).is_some()
        };
        match kinds.map(|kind| kind.unwrap_or(false)) {
            // Version, subject, key, attributes.
            [false, true, true, false] if attributes => Self::Other(REQUEST),
            // Serial number, signature, issuer, validity: version 1 has no number of its own.
            [false, true, true, true] => Self::Certificate,
            // (Version,) signature, issuer, time.
            [false, true, true, false] | [true, true, false, _] => {
                Self::Other("a certificate revocation list")
            }
            _ => Self::Unknown,
        }
    }
}

const REQUEST: &str = "a certificate request (what the CA makes of it is the certificate)";

/// What a PEM block is that is not used.
pub(super) fn described(label: &str) -> String {
    let known = match label {
        "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => REQUEST,
        "X509 CRL" => "a certificate revocation list",
        "PUBLIC KEY" | "RSA PUBLIC KEY" => "a public key",
        "DSA PRIVATE KEY" => "a DSA key",
        "OPENSSH PRIVATE KEY" | "SSH2 ENCRYPTED PRIVATE KEY" => "an SSH private key",
        "SSH2 PUBLIC KEY" => "an SSH public key",
        "PKCS7" | "PKCS #7 SIGNED DATA" | "CMS" => "PKCS#7, which \"gatepost cert import\" takes",
        "PKCS12" => "PKCS#12, which \"gatepost cert import\" takes",
        _ if label.starts_with("PGP ") => "a PGP message or key",
        _ => return label.to_owned(),
    };
    known.to_owned()
}

/// What a file is that has neither PEM nor DER in it.
pub(super) fn foreign(bytes: &[u8]) -> Option<&'static str> {
    const BEGINNINGS: [(&[u8], &str); 10] = [
        (b"\xfe\xed\xfe\xed", JAVA),
        (b"\xce\xce\xce\xce", JAVA),
        (b"PuTTY-User-Key-File", "an SSH private key (of PuTTY)"),
        (b"ssh-", "an SSH public key"),
        (b"ecdsa-sha2-", "an SSH public key"),
        (b"sk-ssh-", "an SSH public key"),
        (b"sk-ecdsa-", "an SSH public key"),
        (
            b"PK\x03\x04",
            "a ZIP archive, which has to be unpacked first",
        ),
        (
            b"\x1f\x8b",
            "a gzip archive, which has to be unpacked first",
        ),
        (b"%PDF-", "a PDF document"),
    ];
    let known = BEGINNINGS
        .iter()
        .find(|(start, _)| bytes.starts_with(start));
    known
        .map(|(_, found)| *found)
        .or_else(|| is_pgp(bytes).then_some("a PGP message or key"))
}

const JAVA: &str = "a Java keystore of the old form (make PKCS#12 of it with \
     \"keytool -importkeystore -srckeystore FILE -destkeystore NEW.p12 -deststoretype PKCS12\")";

/// A packet with a key or a message (RFC 9580 section 4.2): secret or public key, of version 3
/// to 6.
fn is_pgp(bytes: &[u8]) -> bool {
    let version = match bytes {
        [0x94 | 0x98, _, version, ..] | [0xc5 | 0xc6, 0..=191, version, ..] => version,
        [0x95 | 0x99, _, _, version, ..] | [0xc5 | 0xc6, 192..=223, _, version, ..] => version,
        _ => return false,
    };
    (3..=6).contains(version)
}

/// What the bytes look like, where a text was expected.
pub(super) fn looks_like(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some("UTF-16 text"),
        _ => match Form::of(bytes) {
            Form::Unknown => None,
            Form::Pkcs12 => Some("PKCS#12"),
            _ => Some("DER"),
        },
    }
}
