//! Every form that programs write, and what is refused.

use std::error::Error as _;

use proptest::prelude::*;
use x509_parser::asn1_rs::{Any, FromBer as _};

use super::*;
use crate::cert::testing::{days, openssl, params, self_signed};

/// A folder in which `openssl` finds a chain of two, its key, and more of the like.
struct Files(tempfile::TempDir);

impl Files {
    /// `leaf.pem` with `key.pem` (P-256), issued by `ca.pem`, and `rsa.pem`, another key.
    fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        let [ca, ca_key, leaf, key] =
            ["ca.pem", "ca.key", "leaf.pem", "key.pem"].map(|f| files.path(f));
        let new = [
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ];
        let ca_arguments = ["-subj", "/CN=CA", "-keyout", &ca_key, "-out", &ca];
        openssl(&[&new[..], &ca_arguments].concat());
        let arguments = [
            "-subj", "/CN=leaf", "-CA", &ca, "-CAkey", &ca_key, "-keyout", &key, "-out", &leaf,
        ];
        openssl(&[&new[..], &arguments].concat());
        openssl(&["genrsa", "-out", &files.path("rsa.pem"), "2048"]);
        files
    }

    fn path(&self, file: &str) -> String {
        self.0.path().join(file).to_str().unwrap().to_owned()
    }

    /// What `openssl` prints for arguments in one line, file names being those in the folder.
    fn openssl(&self, line: &str) -> Vec<u8> {
        let known = std::fs::read_dir(self.0.path()).unwrap();
        let known: Vec<_> = known.map(|entry| entry.unwrap().file_name()).collect();
        let arguments: Vec<String> = line
            .split(' ')
            .map(|word| match known.iter().any(|file| file == word) {
                true => self.path(word),
                false => word.to_owned(),
            })
            .collect();
        openssl(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn spki(&self, key: &str) -> Vec<u8> {
        self.openssl(&format!("pkey -in {key} -pubout -outform DER"))
    }

    fn certificates(&self, files: &[&str]) -> Vec<CertificateDer<'static>> {
        let der = |file: &&str| self.openssl(&format!("x509 -in {file} -outform DER"));
        files.iter().map(der).map(CertificateDer::from).collect()
    }
}

fn secret(text: &str) -> Passphrase {
    Passphrase::new(text.as_bytes().to_vec())
}

/// The causes of a refusal, on one line.
fn refusal(bytes: &[u8], passphrase: Option<&str>) -> String {
    let refused = read_input(bytes, passphrase.map(secret).as_ref()).unwrap_err();
    match refused.source() {
        Some(cause) => format!("{refused}: {cause}"),
        None => refused.to_string(),
    }
}

/// Every way in which `openssl` encrypts a key alone, and what it is called.
const ENCRYPTED_KEYS: [(&str, &str); 17] = [
    ("pkcs8 -topk8", "PBES2, PBKDF2, AES-256-CBC"),
    (
        "pkcs8 -topk8 -v2 aes-128-cbc -v2prf hmacWithSHA1",
        "PBES2, PBKDF2, AES-128-CBC",
    ),
    (
        "pkcs8 -topk8 -v2 aes-192-cbc -v2prf hmacWithSHA384",
        "PBES2, PBKDF2, AES-192-CBC",
    ),
    (
        "pkcs8 -topk8 -v2 des3 -v2prf hmacWithSHA512",
        "PBES2, PBKDF2, DES-EDE3-CBC",
    ),
    ("pkcs8 -topk8 -v2 des-cbc", "PBES2, PBKDF2, DES-CBC"),
    ("pkcs8 -topk8 -scrypt", "PBES2, scrypt, AES-256-CBC"),
    ("pkcs8 -topk8 -v1 PBE-MD5-DES", "pbeWithMD5AndDES-CBC"),
    ("pkcs8 -topk8 -v1 PBE-MD5-RC2-64", "pbeWithMD5AndRC2-CBC"),
    ("pkcs8 -topk8 -v1 PBE-SHA1-DES", "pbeWithSHA1AndDES-CBC"),
    ("pkcs8 -topk8 -v1 PBE-SHA1-RC2-64", "pbeWithSHA1AndRC2-CBC"),
    (
        "pkcs8 -topk8 -v1 PBE-SHA1-3DES",
        "pbeWithSHAAnd3-KeyTripleDES-CBC",
    ),
    (
        "pkcs8 -topk8 -v1 PBE-SHA1-2DES",
        "pbeWithSHAAnd2-KeyTripleDES-CBC",
    ),
    (
        "pkcs8 -topk8 -v1 PBE-SHA1-RC2-128",
        "pbeWithSHAAnd128BitRC2-CBC",
    ),
    (
        "pkcs8 -topk8 -v1 PBE-SHA1-RC2-40",
        "pbeWithSHAAnd40BitRC2-CBC",
    ),
    ("pkey -traditional -aes256", "AES-256-CBC"),
    ("pkey -traditional -des3", "DES-EDE3-CBC"),
    ("pkey -traditional -des", "DES-CBC"),
];

/// Providers that have the old algorithms too.
const LEGACY: &str = "-provider legacy -provider default";

#[test]
fn encrypted_keys_of_every_kind_are_opened() {
    let files = Files::new();
    for (command, scheme) in ENCRYPTED_KEYS {
        for key in ["key.pem", "rsa.pem"] {
            let line = format!("{command} -in {key} -passout pass:bücher {LEGACY}");
            let pem = files.openssl(&line);
            let bundle = read_input(&pem, Some(&secret("bücher"))).unwrap();
            let [own] = &bundle.keys[..] else {
                panic!("{command}: {bundle:?}");
            };
            assert_eq!(own.spki(), files.spki(key), "{command}");

            let what = "the private key cannot be opened";
            assert_eq!(
                refusal(&pem, Some("bucher")),
                format!("{what}: the pass phrase is wrong (encrypted with {scheme})")
            );
            assert_eq!(
                refusal(&pem, None),
                format!("{what}: encrypted ({scheme}), and no pass phrase was given")
            );
            assert!(read_input(&pem, None).unwrap_err().needs_passphrase());
            assert!(
                !read_input(&pem, Some(&secret("")))
                    .unwrap_err()
                    .needs_passphrase()
            );
        }
    }
    let der = files.openssl("pkcs8 -topk8 -in key.pem -outform DER -passout pass:x");
    let bundle = read_input(&der, Some(&secret("x"))).unwrap();
    assert_eq!(bundle.keys[0].spki(), files.spki("key.pem"));
}

#[test]
fn pkcs12_of_both_generations_is_opened() {
    let files = Files::new();
    let whole = "pkcs12 -export -in leaf.pem -inkey key.pem -certfile ca.pem";
    for (arguments, passphrase) in [
        (String::new(), "bücher"),
        ("-legacy".to_owned(), "bücher"),
        ("-descert -legacy".to_owned(), "secret"),
        (
            "-macalg sha512 -certpbe AES-128-CBC -keypbe AES-192-CBC".to_owned(),
            "secret",
        ),
        (
            format!("-certpbe PBE-SHA1-RC2-128 -keypbe PBE-SHA1-2DES {LEGACY}"),
            "secret",
        ),
        ("-keypbe NONE -certpbe NONE".to_owned(), "secret"),
        ("-nomac".to_owned(), "secret"),
        ("-nomac -legacy".to_owned(), "secret"),
        ("-nomaciter -noiter -legacy".to_owned(), "secret"),
        ("-legacy".to_owned(), ""),
        (String::new(), ""),
    ] {
        let line = format!("{whole} {arguments} -passout pass:{passphrase}");
        let line = line.replace("  ", " ");
        let der = files.openssl(&line);
        let bundle = read_input(&der, Some(&secret(passphrase))).unwrap();
        assert_eq!(
            bundle.certificates,
            files.certificates(&["leaf.pem", "ca.pem"]),
            "{line}"
        );
        assert_eq!(bundle.keys.len(), 1);
        assert_eq!(bundle.keys[0].spki(), files.spki("key.pem"));

        let wrong = refusal(&der, Some("wrong"));
        let start = "the PKCS#12 file cannot be opened: the pass phrase is wrong (encrypted with ";
        assert!(wrong.starts_with(start), "{line}: {wrong}");
        match read_input(&der, None) {
            Ok(bundle) if passphrase.is_empty() => assert_eq!(bundle.keys.len(), 1),
            other => assert!(other.unwrap_err().needs_passphrase(), "{line}"),
        }
    }
}

/// The same elements with indefinite lengths, and with strings in pieces.
fn ber(der: &[u8]) -> Vec<u8> {
    let mut ber = Vec::new();
    let mut rest = der;
    while !rest.is_empty() {
        let (after, any) = Any::from_ber(rest).unwrap();
        let (tag, content) = (rest[0], any.data);
        if any.header.is_constructed() {
            ber.extend([tag, 0x80]);
            ber.extend(self::ber(content));
            ber.extend([0, 0]);
        } else if tag == 4 {
            ber.extend([0x24, 0x80]);
            for piece in content.chunks(100) {
                ber.extend([4, u8::try_from(piece.len()).unwrap()]);
                ber.extend(piece);
            }
            ber.extend([0, 0]);
        } else {
            ber.extend(&rest[..rest.len() - after.len()]);
        }
        rest = after;
    }
    ber
}

#[test]
fn pkcs12_is_read_in_ber_too() {
    let files = Files::new();
    for arguments in ["", " -legacy"] {
        let line = format!("pkcs12 -export -in leaf.pem -inkey key.pem{arguments} -passout pass:x");
        let der = files.openssl(&line);
        let ber = ber(&der);
        assert_eq!(ber[..2], [0x30, 0x80]);
        let bundle = read_input(&ber, Some(&secret("x"))).unwrap();
        assert_eq!(bundle.certificates, files.certificates(&["leaf.pem"]));
        assert_eq!(bundle.keys[0].spki(), files.spki("key.pem"));
        for length in [ber.len() / 3, ber.len() / 2, ber.len() - 1] {
            assert!(read_input(&ber[..length], Some(&secret("x"))).is_err());
        }
    }
}

#[test]
fn pkcs12_with_nothing_to_hide_needs_no_pass_phrase() {
    let files = Files::new();
    let line = "pkcs12 -export -in leaf.pem -inkey key.pem -nomac -keypbe NONE -certpbe NONE -passout pass:";
    let bundle = read_input(&files.openssl(line), None).unwrap();
    assert_eq!(bundle.certificates, files.certificates(&["leaf.pem"]));
    assert_eq!(bundle.keys[0].spki(), files.spki("key.pem"));
    let line = "pkcs12 -export -nokeys -in ca.pem -passout pass:x";
    let bundle = read_input(&files.openssl(line), Some(&secret("x"))).unwrap();
    assert_eq!((bundle.certificates.len(), bundle.keys.len()), (1, 0));
}

#[test]
fn everything_is_read_in_pem_and_der() {
    let files = Files::new();
    let both = files.certificates(&["leaf.pem", "ca.pem"]);
    let crl = "crl2pkcs7 -nocrl -certfile leaf.pem -certfile ca.pem";
    let trusted = files.openssl("x509 -in leaf.pem -trustout -addtrust serverAuth");
    for (form, bytes, certificates) in [
        ("PKCS#7", files.openssl(crl), &both[..]),
        (
            "DER PKCS#7",
            files.openssl(&format!("{crl} -outform DER")),
            &both,
        ),
        (
            "CMS",
            String::from_utf8(files.openssl(crl))
                .unwrap()
                .replace("PKCS7", "CMS")
                .into_bytes(),
            &both,
        ),
        (
            "CMS in BER",
            files.openssl("cms -sign -stream -nodetach -signer leaf.pem -inkey key.pem -in ca.pem -outform DER"),
            &both[..1],
        ),
        ("DER", both[0].to_vec(), &both[..1]),
        ("two in DER", [&both[0][..], &both[1]].concat(), &both),
        ("TRUSTED", trusted, &both[..1]),
    ] {
        let bundle = read_input(&bytes, None).unwrap();
        assert_eq!(bundle.certificates, certificates, "{form}");
        assert!(bundle.keys.is_empty());
    }
    for (key, line) in [
        ("key.pem", "pkey -in key.pem -outform DER"),
        ("key.pem", "pkey -in key.pem -outform DER -traditional"),
        ("rsa.pem", "pkey -in rsa.pem -outform DER -traditional"),
        ("rsa.pem", "pkcs8 -topk8 -nocrypt -in rsa.pem -outform DER"),
    ] {
        let bundle = read_input(&files.openssl(line), None).unwrap();
        assert!(bundle.certificates.is_empty());
        assert_eq!(bundle.keys[0].spki(), files.spki(key), "{line}");
    }
}

#[test]
fn what_is_of_no_use_is_called_by_its_name() {
    let files = Files::new();
    let request = files.openssl("req -new -key key.pem -subj /CN=a -outform DER");
    let public = files.openssl("pkey -in key.pem -pubout -outform DER");
    let rsa_public = files.openssl("rsa -in rsa.pem -RSAPublicKey_out -outform DER");
    let dsa = files.openssl("genpkey -genparam -algorithm DSA -pkeyopt dsa_paramgen_bits:1024");
    std::fs::write(files.path("dsa.pem"), dsa).unwrap();
    std::fs::write(
        files.path("dsa.key"),
        files.openssl("genpkey -paramfile dsa.pem"),
    )
    .unwrap();
    let dsa = files.openssl("pkey -in dsa.key -traditional -outform DER");
    let only = "no certificate and no private key found, only";
    let expected = ", expected a certificate or a private key (PEM, DER, PKCS#7 or PKCS#12)";
    for (bytes, error) in [
        (
            request,
            format!("{only} a certificate request (what the CA makes of it is the certificate)"),
        ),
        (public, format!("{only} a public key")),
        (rsa_public, format!("{only} a public key")),
        (dsa, format!("{only} a DSA key")),
        (
            pem_text("OPENSSH PRIVATE KEY", b"openssh-key-v1").into_bytes(),
            format!("{only} an SSH private key"),
        ),
        (
            b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlQOY\n=abcd\n-----END PGP PRIVATE KEY BLOCK-----\n".to_vec(),
            format!("{only} a PGP message or key"),
        ),
        (b"ssh-ed25519 AAAA".to_vec(), format!("found an SSH public key{expected}")),
        (b"\x95\x01\x98\x04".to_vec(), format!("found a PGP message or key{expected}")),
        (b"PK\x03\x04....".to_vec(), format!("found a ZIP archive, which has to be unpacked first{expected}")),
        (
            b"\xfe\xed\xfe\xed\0\0\0\x02".to_vec(),
            format!(
                "found a Java keystore of the old form (make PKCS#12 of it with \"keytool \
                 -importkeystore -srckeystore FILE -destkeystore NEW.p12 -deststoretype PKCS12\"){expected}"
            ),
        ),
        (
            b"hello".to_vec(),
            "no PEM block found, expected -----BEGIN CERTIFICATE----- or a private key".to_owned(),
        ),
        (b"\x30\x03\x02\x01".to_vec(), "no PEM block found, expected -----BEGIN CERTIFICATE----- or a private key".to_owned()),
        (b"\n".to_vec(), "empty: certificates or a private key were expected".to_owned()),
        (vec![0; MAX_INPUT + 1], "1048577 bytes, at most 1048576 are read".to_owned()),
    ] {
        assert_eq!(refusal(&bytes, None), error);
    }
}

#[test]
fn the_folder_takes_no_container_and_no_encrypted_key() {
    let files = Files::new();
    let pkcs7 = files.openssl("crl2pkcs7 -nocrl -certfile leaf.pem");
    assert_eq!(
        error(&pkcs7),
        "no certificate and no private key found, only PKCS#7, which \"gatepost cert import\" takes"
    );
    let pkcs12 = files.openssl("pkcs12 -export -in leaf.pem -inkey key.pem -passout pass:x");
    assert_eq!(
        error(&pkcs12),
        "no PEM block found: the file looks like PKCS#12, expected -----BEGIN CERTIFICATE----- or a private key"
    );
}

/// AlgorithmIdentifier and an OCTET STRING, as in EncryptedPrivateKeyInfo; all lengths short.
fn encrypted(oid_and_parameters: &[u8]) -> Vec<u8> {
    let text = [&[0x04, 16][..], &[0; 16]].concat();
    sequence(&[&sequence(&[oid_and_parameters]), &text])
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    [&[0x30, u8::try_from(content.len()).unwrap()][..], &content].concat()
}

#[test]
fn nobody_is_kept_busy_by_a_file() {
    const PBES2: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0d";
    const PBKDF2: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0c";
    const SCRYPT: &[u8] = b"\x06\x09\x2b\x06\x01\x04\x01\xda\x47\x04\x0b";
    const AES: &[u8] = b"\x06\x09\x60\x86\x48\x01\x65\x03\x04\x01\x2a";
    const MD5_DES: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x05\x03";
    const SALT: &[u8] = b"\x04\x08saltsalt";
    const MOST: &[u8] = b"\x02\x04\x7f\xff\xff\xff";
    let aes = sequence(&[AES, b"\x04\x10", &[0; 16]]);
    let pbes2 = |function: &[u8], parameters: &[&[u8]]| {
        let derivation = sequence(&[function, &sequence(parameters)]);
        encrypted(&[PBES2, &sequence(&[&derivation, &aes])].concat())
    };
    let pbes1 = |rounds: &[u8]| encrypted(&[MD5_DES, &sequence(&[SALT, rounds])].concat());
    let what = "the private key cannot be opened: ";
    // 2^31 rounds; N = 2^20, r = 2^7, p = 1; N = 2^14, r = 8, p = 2^20; N = 3.
    for (file, error) in [
        (
            pbes2(PBKDF2, &[SALT, MOST]),
            "the file asks for 4294967294 rounds of key derivation, at most 10000000 are made for one file",
        ),
        (
            pbes1(MOST),
            "the file asks for 2147483647 rounds of key derivation, at most 10000000 are made for one file",
        ),
        (
            pbes2(
                SCRYPT,
                &[
                    SALT,
                    b"\x02\x03\x10\0\0",
                    b"\x02\x02\0\x80",
                    b"\x02\x01\x01",
                ],
            ),
            "the file asks for 17179885568 bytes of memory (scrypt), at most 67108864 are used",
        ),
        (
            pbes2(
                SCRYPT,
                &[
                    SALT,
                    b"\x02\x02\x40\0",
                    b"\x02\x01\x08",
                    b"\x02\x03\x10\0\0",
                ],
            ),
            "the file asks for 1090519040 bytes of memory (scrypt), at most 67108864 are used",
        ),
        (
            pbes2(
                SCRYPT,
                &[SALT, b"\x02\x02\x40\0", b"\x02\x01\x08", b"\x02\x02\x60\0"],
            ),
            "the file asks for 3221225472 rounds of key derivation, at most 10000000 are made for one file",
        ),
        (
            pbes2(
                SCRYPT,
                &[SALT, b"\x02\x01\x03", b"\x02\x01\x01", b"\x02\x01\x01"],
            ),
            "the parameters of the encryption cannot be read",
        ),
        (
            pbes2(PBKDF2, &[SALT, b"\x02\x01\x00"]),
            "the parameters of the encryption cannot be read",
        ),
        (
            pbes1(b"\x02\x01\xff"),
            "the parameters of the encryption cannot be read",
        ),
    ] {
        assert_eq!(refusal(&file, Some("x")), format!("{what}{error}"));
    }
}

#[test]
fn the_work_of_one_file_is_bounded_in_all() {
    let mut work = Work::default();
    assert_eq!(work.begin(6_000_000), Ok(()));
    let too_much = |found| Err(DecryptError::TooMuchWork { found });
    assert_eq!(work.begin(4_000_001), too_much(10_000_001));
    assert_eq!(work.begin(1), too_much(10_000_002));
    assert_eq!(work.begin(u64::MAX), too_much(u64::MAX));
}

#[test]
fn a_pkcs12_file_is_not_read_for_ever() {
    let files = Files::new();
    let line =
        "pkcs12 -export -in leaf.pem -inkey key.pem -legacy -macalg sha1 -iter 2 -passout pass:x";
    let mut der = files.openssl(line);
    // The rounds of the MAC stand at the end of MacData, and that at the end of the file.
    let (mac, rounds) = (der.len() - 50, der.len() - 3);
    assert_eq!(
        (&der[mac..mac + 2], &der[rounds..]),
        (&[0x30, 48][..], &[2, 1, 2][..])
    );
    der.splice(rounds.., [2, 4, 0x7f, 0xff, 0xff, 0xff]);
    der[mac + 1] += 3;
    let length = u16::from_be_bytes([der[2], der[3]]) + 3;
    der[2..4].copy_from_slice(&length.to_be_bytes());
    assert_eq!(
        refusal(&der, Some("x")),
        "the PKCS#12 file cannot be opened: the file asks for 2147483647 rounds of key derivation, \
         at most 10000000 are made for one file"
    );
}

fn error(pem: &[u8]) -> String {
    read_bundle(pem).unwrap_err().to_string()
}

#[test]
fn blocks_are_read_in_their_order_whatever_stands_around_them() {
    let first = self_signed(&params("first", &["a.example"], days(0, 1)));
    let second = self_signed(&params("second", &["b.example"], days(0, 1)));
    let text = format!(
        "\u{feff}subject=/CN=first\r\n{}\nissuer: …\n{}{}{}{}trailing",
        chain_pem(std::slice::from_ref(&first.der)).replace('\n', "\r\n"),
        second.key.serialize_pem(),
        pem_text("DH PARAMETERS", b"whatever"),
        chain_pem(std::slice::from_ref(&second.der)),
        first.key.serialize_pem(),
    );
    let bundle = read_bundle(text.as_bytes()).unwrap();
    assert_eq!(bundle.certificates, [first.der.clone(), second.der.clone()]);
    let spkis: Vec<_> = bundle.keys.iter().map(PrivateKey::spki).collect();
    let [one, two] = [second.private_key(), first.private_key()];
    assert_eq!(spkis, [one.spki(), two.spki()]);
    assert!(!format!("{bundle:?}").contains("Pkcs8"));
}

#[test]
fn what_holds_nothing_says_what_it_holds() {
    let leaf = self_signed(&params("a", &["a.example"], days(0, 1)));
    let expected = ", expected -----BEGIN CERTIFICATE----- or a private key";
    for (pem, text) in [
        (
            b" \r\n\t".to_vec(),
            "empty: certificates or a private key were expected".to_owned(),
        ),
        (
            leaf.der.to_vec(),
            format!("no PEM block found: the file looks like DER{expected}"),
        ),
        (
            b"\xff\xfe-\0-\0".to_vec(),
            format!("no PEM block found: the file looks like UTF-16 text{expected}"),
        ),
        (b"hello".to_vec(), format!("no PEM block found{expected}")),
        (
            [
                pem_text("CERTIFICATE REQUEST", b"x"),
                pem_text("X509 CRL", b"x"),
            ]
            .concat()
            .into_bytes(),
            "no certificate and no private key found, only a certificate request (what the CA makes \
             of it is the certificate), a certificate revocation list"
                .to_owned(),
        ),
        (
            vec![b'x'; MAX_INPUT + 1],
            "1048577 bytes, at most 1048576 are read".to_owned(),
        ),
    ] {
        assert_eq!(error(&pem), text);
    }
}

#[test]
fn a_damaged_block_is_named_and_its_content_is_not() {
    let leaf = self_signed(&params("a", &["a.example"], days(0, 1)));
    let good = chain_pem(std::slice::from_ref(&leaf.der));
    let key = leaf.key.serialize_pem();
    let secret = key.lines().nth(1).unwrap();
    let one_line = key.replace('\n', "");
    for (text, expected) in [
        (
            format!("{good}{}", key.replace("-----END", "")),
            "PEM block 2 has no end: -----END PRIVATE KEY----- was expected",
        ),
        (
            format!("{good}{}", key.replacen("KEY-----", "KEY---", 1)),
            "PEM block 2 has a damaged first line, expected -----BEGIN LABEL-----",
        ),
        (
            key.replacen(
                secret,
                &secret.replace(|c: char| c.is_ascii_digit(), "!"),
                1,
            ),
            "PEM block 1 is not base64",
        ),
        (
            one_line.clone(),
            "PEM block 1 has no end: -----END (damaged label)----- was expected",
        ),
        (
            format!("{one_line}\n-----END x"),
            "PEM block 1 has no end: -----END (damaged label)----- was expected",
        ),
    ] {
        let found = read_bundle(text.as_bytes()).unwrap_err();
        assert_eq!(found.to_string(), expected);
        assert!(!format!("{found:?}").contains(&secret[8..24]));
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(
        mut pem in prop::collection::vec(any::<u8>(), 0..200),
        begin: bool,
    ) {
        if begin {
            pem.splice(..0, *b"-----BEGIN CERTIFICATE-----\n");
        }
        let secret = Passphrase::new(b"secret".to_vec());
        let read = [read_bundle(&pem), read_input(&pem, None), read_input(&pem, Some(&secret))];
        for bundle in read.into_iter().flatten() {
            prop_assert!(bundle.certificates.len() + bundle.keys.len() > 0);
        }
    }
}
