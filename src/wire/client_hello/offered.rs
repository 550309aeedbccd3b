//! What a client offers, as one line that a log can take.
//!
//! Names are those of OpenSSL for suites, and of IANA's registry for groups and signature schemes.

use std::borrow::Cow;

use super::ClientHello;

/// How many of the suites are named.
const MAX_SUITES: usize = 12;
/// How many of the groups, and of the signature schemes.
const MAX_OTHERS: usize = 8;

const TLS12: u16 = 0x0303;

impl ClientHello {
    /// The highest version offered, as its number stands on the wire.
    pub fn highest_version(&self) -> u16 {
        // What is not 3.x was put among them to try out whether servers take it (RFC 8701).
        let known = self.supported_versions().iter().copied();
        let known = known.filter(|version| version >> 8 == 3);
        known.max().unwrap_or(self.legacy_version)
    }

    /// What is offered, in one bounded line of printable ASCII:
    /// `TLSv1.0: AES128-SHA, DES-CBC3-SHA, 0x00ff (12 more)`.
    ///
    /// From TLS 1.2 on, groups and signature schemes follow: the fault may be theirs.
    pub fn offered(&self) -> String {
        let version = self.highest_version();
        let suites = listed(self.cipher_suites(), SUITES, MAX_SUITES);
        let mut text = format!("{}: {suites}", named(version, VERSIONS));
        if version >= TLS12 {
            let groups = listed(self.named_groups(), GROUPS, MAX_OTHERS);
            let schemes = listed(self.signature_schemes(), SCHEMES, MAX_OTHERS);
            text += &format!("; groups: {groups}; signatures: {schemes}");
        }
        text
    }
}

/// The OpenSSL name of a suite that is or was common.
pub fn suite_name(suite: u16) -> Option<&'static str> {
    find(suite, SUITES)
}

/// The names of the first `most`, and how many more there are.
fn listed(numbers: &[u16], names: Names, most: usize) -> String {
    let first: Vec<_> = numbers
        .iter()
        .take(most)
        .map(|n| named(*n, names))
        .collect();
    match numbers.len().saturating_sub(most) {
        0 if first.is_empty() => "none".to_owned(),
        0 => first.join(", "),
        more => format!("{} ({more} more)", first.join(", ")),
    }
}

fn named(number: u16, names: Names) -> Cow<'static, str> {
    match find(number, names) {
        Some(name) => name.into(),
        None => format!("{number:#06x}").into(),
    }
}

fn find(number: u16, names: Names) -> Option<&'static str> {
    let at = names.binary_search_by_key(&number, |(number, _)| *number);
    at.ok().and_then(|at| names.get(at)).map(|(_, name)| *name)
}

/// Names in the order of their numbers.
type Names = &'static [(u16, &'static str)];

const VERSIONS: Names = &[
    (0x0300, "SSLv3"),
    (0x0301, "TLSv1.0"),
    (0x0302, "TLSv1.1"),
    (0x0303, "TLSv1.2"),
    (0x0304, "TLSv1.3"),
];

const GROUPS: Names = &[
    (0x0017, "secp256r1"),
    (0x0018, "secp384r1"),
    (0x0019, "secp521r1"),
    (0x001d, "x25519"),
    (0x001e, "x448"),
    (0x0100, "ffdhe2048"),
    (0x0101, "ffdhe3072"),
    (0x0102, "ffdhe4096"),
    (0x11ec, "X25519MLKEM768"),
];

const SCHEMES: Names = &[
    (0x0101, "rsa_pkcs1_md5"),
    (0x0201, "rsa_pkcs1_sha1"),
    (0x0202, "dsa_sha1"),
    (0x0203, "ecdsa_sha1"),
    (0x0301, "rsa_pkcs1_sha224"),
    (0x0401, "rsa_pkcs1_sha256"),
    (0x0403, "ecdsa_secp256r1_sha256"),
    (0x0501, "rsa_pkcs1_sha384"),
    (0x0503, "ecdsa_secp384r1_sha384"),
    (0x0601, "rsa_pkcs1_sha512"),
    (0x0603, "ecdsa_secp521r1_sha512"),
    (0x0804, "rsa_pss_rsae_sha256"),
    (0x0805, "rsa_pss_rsae_sha384"),
    (0x0806, "rsa_pss_rsae_sha512"),
    (0x0807, "ed25519"),
    (0x0808, "ed448"),
];

const SUITES: Names = &[
    (0x0001, "NULL-MD5"),
    (0x0002, "NULL-SHA"),
    (0x0003, "EXP-RC4-MD5"),
    (0x0004, "RC4-MD5"),
    (0x0005, "RC4-SHA"),
    (0x0006, "EXP-RC2-CBC-MD5"),
    (0x0007, "IDEA-CBC-SHA"),
    (0x0008, "EXP-DES-CBC-SHA"),
    (0x0009, "DES-CBC-SHA"),
    (0x000a, "DES-CBC3-SHA"),
    (0x0011, "EXP-DHE-DSS-DES-CBC-SHA"),
    (0x0012, "DHE-DSS-DES-CBC-SHA"),
    (0x0013, "DHE-DSS-DES-CBC3-SHA"),
    (0x0014, "EXP-DHE-RSA-DES-CBC-SHA"),
    (0x0015, "DHE-RSA-DES-CBC-SHA"),
    (0x0016, "DHE-RSA-DES-CBC3-SHA"),
    (0x0018, "ADH-RC4-MD5"),
    (0x001b, "ADH-DES-CBC3-SHA"),
    (0x002f, "AES128-SHA"),
    (0x0032, "DHE-DSS-AES128-SHA"),
    (0x0033, "DHE-RSA-AES128-SHA"),
    (0x0034, "ADH-AES128-SHA"),
    (0x0035, "AES256-SHA"),
    (0x0038, "DHE-DSS-AES256-SHA"),
    (0x0039, "DHE-RSA-AES256-SHA"),
    (0x003a, "ADH-AES256-SHA"),
    (0x003c, "AES128-SHA256"),
    (0x003d, "AES256-SHA256"),
    (0x0040, "DHE-DSS-AES128-SHA256"),
    (0x0041, "CAMELLIA128-SHA"),
    (0x0045, "DHE-RSA-CAMELLIA128-SHA"),
    (0x0067, "DHE-RSA-AES128-SHA256"),
    (0x006a, "DHE-DSS-AES256-SHA256"),
    (0x006b, "DHE-RSA-AES256-SHA256"),
    (0x0084, "CAMELLIA256-SHA"),
    (0x0088, "DHE-RSA-CAMELLIA256-SHA"),
    (0x0096, "SEED-SHA"),
    (0x009a, "DHE-RSA-SEED-SHA"),
    (0x009c, "AES128-GCM-SHA256"),
    (0x009d, "AES256-GCM-SHA384"),
    (0x009e, "DHE-RSA-AES128-GCM-SHA256"),
    (0x009f, "DHE-RSA-AES256-GCM-SHA384"),
    (0x1301, "TLS_AES_128_GCM_SHA256"),
    (0x1302, "TLS_AES_256_GCM_SHA384"),
    (0x1303, "TLS_CHACHA20_POLY1305_SHA256"),
    (0xc007, "ECDHE-ECDSA-RC4-SHA"),
    (0xc008, "ECDHE-ECDSA-DES-CBC3-SHA"),
    (0xc009, "ECDHE-ECDSA-AES128-SHA"),
    (0xc00a, "ECDHE-ECDSA-AES256-SHA"),
    (0xc011, "ECDHE-RSA-RC4-SHA"),
    (0xc012, "ECDHE-RSA-DES-CBC3-SHA"),
    (0xc013, "ECDHE-RSA-AES128-SHA"),
    (0xc014, "ECDHE-RSA-AES256-SHA"),
    (0xc023, "ECDHE-ECDSA-AES128-SHA256"),
    (0xc024, "ECDHE-ECDSA-AES256-SHA384"),
    (0xc027, "ECDHE-RSA-AES128-SHA256"),
    (0xc028, "ECDHE-RSA-AES256-SHA384"),
    (0xc02b, "ECDHE-ECDSA-AES128-GCM-SHA256"),
    (0xc02c, "ECDHE-ECDSA-AES256-GCM-SHA384"),
    (0xc02f, "ECDHE-RSA-AES128-GCM-SHA256"),
    (0xc030, "ECDHE-RSA-AES256-GCM-SHA384"),
    (0xcca8, "ECDHE-RSA-CHACHA20-POLY1305"),
    (0xcca9, "ECDHE-ECDSA-CHACHA20-POLY1305"),
    (0xccaa, "DHE-RSA-CHACHA20-POLY1305"),
];

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::super::hello::Lists;
    use super::*;

    fn hello(version: u16, lists: [&[u16]; 4]) -> ClientHello {
        let lists = lists.map(|list| list.iter().map(|n| n.to_be_bytes()).collect::<Vec<_>>());
        ClientHello {
            legacy_version: version,
            lists: Lists::new(lists.each_ref().map(Vec::as_slice)),
            ..ClientHello::default()
        }
    }

    #[test]
    fn what_was_offered_is_one_line() {
        let many: Vec<u16> = (0x2f..0x2f + 24).collect();
        let cases = [
            (
                hello(0x0301, [&[0x2f, 0x0a, 0xff], &[], &[0x17], &[]]),
                "TLSv1.0: AES128-SHA, DES-CBC3-SHA, 0x00ff",
            ),
            (
                hello(0x0300, [&many, &[], &[], &[]]),
                "SSLv3: AES128-SHA, 0x0030, 0x0031, DHE-DSS-AES128-SHA, DHE-RSA-AES128-SHA, \
                 ADH-AES128-SHA, AES256-SHA, 0x0036, 0x0037, DHE-DSS-AES256-SHA, \
                 DHE-RSA-AES256-SHA, ADH-AES256-SHA (12 more)",
            ),
            (hello(0x0302, [&[]; 4]), "TLSv1.1: none"),
            (
                hello(0x0303, [&[0xc013], &[], &[0x19, 0x0a], &[0x0201]]),
                "TLSv1.2: ECDHE-RSA-AES128-SHA; groups: secp521r1, 0x000a; \
                 signatures: rsa_pkcs1_sha1",
            ),
            (
                hello(0x0303, [&[0xc02f], &[], &[], &[]]),
                "TLSv1.2: ECDHE-RSA-AES128-GCM-SHA256; groups: none; \
                 signatures: none",
            ),
            (
                hello(
                    0x0303,
                    [&[0x1301], &[0x7a7a, 0x0303, 0x0304], &[0x1e], &many],
                ),
                "TLSv1.3: TLS_AES_128_GCM_SHA256; groups: x448; signatures: 0x002f, 0x0030, \
                 0x0031, 0x0032, 0x0033, 0x0034, 0x0035, 0x0036 (16 more)",
            ),
            (
                hello(0x0303, [&[5], &[0x0301], &[], &[]]),
                "TLSv1.0: RC4-SHA",
            ),
            (hello(0x02ff, [&[5], &[], &[], &[]]), "0x02ff: RC4-SHA"),
        ];
        for (hello, expected) in cases {
            assert_eq!(hello.offered(), expected);
        }
    }

    #[test]
    fn the_longest_line_is_bounded() {
        let all: Vec<u16> = (0..=u16::MAX).collect();
        let longest = |names: Names| names.iter().map(|(_, name)| name.len()).max().unwrap();
        let text = hello(0x0303, [&all, &[], &all, &all]).offered();
        let most = MAX_SUITES * (longest(SUITES) + 2)
            + MAX_OTHERS * (longest(GROUPS) + longest(SCHEMES) + 4);
        assert!(text.len() < most + 100 && most < 1000, "{most}: {text}");
    }

    #[test]
    fn names_are_in_order() {
        for names in [VERSIONS, GROUPS, SCHEMES, SUITES] {
            assert!(names.is_sorted_by_key(|(number, _)| *number));
        }
    }

    /// Those that this OpenSSL still knows, which has forgotten the weakest.
    #[test]
    fn suites_are_named_as_openssl_names_them() {
        let output = Command::new("openssl")
            .args(["ciphers", "-V", "ALL:COMPLEMENTOFALL:@SECLEVEL=0"])
            .output()
            .expect("the program openssl is needed to run this test");
        let listed = String::from_utf8(output.stdout).unwrap();
        let mut compared = 0;
        for line in listed.lines() {
            let mut words = line.split_whitespace();
            let number = words.next().unwrap().replace("0x", "").replace(',', "");
            let number = u16::from_str_radix(&number, 16).unwrap();
            if let Some(name) = suite_name(number) {
                assert_eq!(Some(name), words.nth(1), "{number:#06x}");
                compared += 1;
            }
        }
        assert!(compared > 30, "{compared} of:\n{listed}");
    }
}
