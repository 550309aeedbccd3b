//! Certificates and keys as `openssl`, `certtool` and Java's `keytool` make and write them.

use std::fs;

use crate::common::gatepost::Site;
use crate::common::process::run;

/// The pass phrase of everything that is encrypted. Java takes nothing but ASCII.
pub(super) const PASSPHRASE: &str = "a secret for few";

/// One way of writing a certificate and its key.
pub(super) struct Written {
    /// In words.
    pub(super) what: &'static str,
    /// Files of the site to be given to `cert import`, the certificate's first.
    pub(super) files: Vec<String>,
    /// The file of the key, if it is named apart.
    pub(super) key: Option<String>,
    pub(super) encrypted: bool,
    /// The certificate alone, in PEM.
    pub(super) certificate: String,
}

/// Runs a program in the folder of the site; arguments in one line, `PASS` being the pass phrase.
fn tool(site: &Site, program: &str, line: &str) -> String {
    let folder = site.path("");
    let words = line
        .split_whitespace()
        .map(|word| word.replace("PASS", PASSPHRASE));
    let arguments = ["-C", folder.to_str().unwrap(), program];
    let arguments = arguments.into_iter().map(str::to_owned).chain(words);
    run("env", arguments, b"").ok()
}

pub(super) fn openssl(site: &Site, line: &str) -> String {
    tool(site, "openssl", line)
}

/// A key and a self-signed certificate `NAME.crt`, `NAME.rsa` for `NAME.example`.
fn pair_of_openssl(site: &Site, name: &str, new_key: &str) {
    let subject = format!("-subj /CN={name} -addext subjectAltName=DNS:{name}.example");
    openssl(
        site,
        &format!("req -x509 -nodes {new_key} {subject} -keyout {name}.key -out {name}.crt"),
    );
}

/// All the forms in which OpenSSL writes, of both of its generations.
pub(super) fn by_openssl(site: &Site) -> Vec<Written> {
    pair_of_openssl(site, "openssl", "-newkey rsa:2048");
    let export = "pkcs12 -export -in openssl.crt -inkey openssl.key -passout pass:PASS";
    let old = "-provider legacy -provider default -passout pass:PASS";
    for line in [
        "x509 -in openssl.crt -outform DER -out o.cer".to_owned(),
        "pkey -in openssl.key -outform DER -out o.der".to_owned(),
        "crl2pkcs7 -nocrl -certfile openssl.crt -out o.p7b".to_owned(),
        "crl2pkcs7 -nocrl -certfile openssl.crt -outform DER -out o.p7c".to_owned(),
        "rsa -in openssl.key -traditional -aes128 -passout pass:PASS -out o.old".to_owned(),
        "pkcs8 -topk8 -in openssl.key -passout pass:PASS -out o.pbes2".to_owned(),
        "pkcs8 -topk8 -in openssl.key -passout pass:PASS -scrypt -outform DER -out o.scrypt"
            .to_owned(),
        format!("pkcs8 -topk8 -in openssl.key -v1 PBE-MD5-DES {old} -out o.pbes1"),
        format!("{export} -out o.p12"),
        format!("{export} -legacy -out o.pfx"),
    ] {
        openssl(site, &line);
    }
    let written = |what, files: &[&str], key: Option<&str>, encrypted| Written {
        what,
        files: files.iter().map(|&file| file.to_owned()).collect(),
        key: key.map(str::to_owned),
        encrypted,
        certificate: fs::read_to_string(site.path("openssl.crt")).unwrap(),
    };
    vec![
        written("PEM", &["openssl.crt"], Some("openssl.key"), false),
        written(
            "key and certificate",
            &["openssl.key", "openssl.crt"],
            None,
            false,
        ),
        written("DER", &["o.cer"], Some("o.der"), false),
        written("PKCS#7 in PEM", &["o.p7b", "o.der"], None, false),
        written("PKCS#7 in DER, Proc-Type", &["o.p7c"], Some("o.old"), true),
        written("PBES2", &["o.cer"], Some("o.pbes2"), true),
        written("PBES2 with scrypt, DER", &["o.cer"], Some("o.scrypt"), true),
        written("PBES1", &["o.cer"], Some("o.pbes1"), true),
        written("PKCS#12 of OpenSSL 3", &["o.p12"], None, true),
        written("PKCS#12 of OpenSSL 1", &["o.pfx"], None, true),
    ]
}

/// What GnuTLS writes.
pub(super) fn by_certtool(site: &Site) -> Vec<Written> {
    let template = "cn = gnutls\ndns_name = gnutls.example\ntls_www_server\nsigning_key\n\
                    expiration_days = 30\n";
    fs::write(site.path("template"), template).unwrap();
    let certtool = |line: &str| tool(site, "certtool", line);
    certtool("--generate-privkey --key-type ecdsa --outfile gnutls.key");
    certtool(
        "--generate-self-signed --load-privkey gnutls.key --template template --outfile gnutls.crt",
    );
    let pair =
        "--load-privkey gnutls.key --load-certificate gnutls.crt --p12-name gnutls --password PASS";
    certtool(&format!("--to-p12 {pair} --outfile g.p12"));
    certtool(&format!(
        "--to-p12 {pair} --outder --pkcs-cipher 3des-pkcs12 --outfile g.pfx"
    ));
    certtool(
        "--to-p8 --load-privkey gnutls.key --password PASS --pkcs-cipher aes-256 --outfile g.p8",
    );
    certtool(
        "--to-p8 --load-privkey gnutls.key --password PASS --pkcs-cipher 3des-pkcs12 --outfile g.old",
    );
    let written = |what, file: &str, key: Option<&str>, encrypted| Written {
        what,
        files: vec![file.to_owned()],
        key: key.map(str::to_owned),
        encrypted,
        certificate: fs::read_to_string(site.path("gnutls.crt")).unwrap(),
    };
    vec![
        written("text and PEM", "gnutls.crt", Some("gnutls.key"), false),
        written("PKCS#12 in PEM", "g.p12", None, true),
        written("PKCS#12 with 3DES", "g.pfx", None, true),
        written("PKCS#8 with AES", "gnutls.crt", Some("g.p8"), true),
        written("PKCS#8 with 3DES", "gnutls.crt", Some("g.old"), true),
    ]
}

pub(super) fn keytool(site: &Site, line: &str) -> String {
    tool(site, "keytool", line)
}

/// What Java writes: a chain in the form of today, and in that of Java 8; the second keystore has
/// its authority as an entry of its own.
pub(super) fn by_keytool(site: &Site) -> Vec<Written> {
    let new = "-genkeypair -validity 30 -storetype PKCS12 -storepass PASS";
    for (store, old) in [("j.p12", ""), ("j.pfx", "-J-Dkeystore.pkcs12.legacy")] {
        let authority = format!("{new} -alias ca -keyalg EC -groupname secp256r1 -ext bc:c");
        keytool(
            site,
            &format!("{authority} -dname CN=java-ca -keystore ca-{store}"),
        );
        keytool(
            site,
            &format!(
                "{old} {new} -alias server -keyalg RSA -keysize 2048 -dname CN=java -keystore {store}"
            ),
        );
        let own = format!("-alias server -storepass PASS -keystore {store}");
        let ca = format!("-alias ca -storepass PASS -keystore ca-{store}");
        keytool(site, &format!("-certreq {own} -file {store}.csr"));
        let names = "-ext san=dns:java.example -ext eku=serverAuth";
        keytool(
            site,
            &format!("-gencert {ca} {names} -infile {store}.csr -outfile {store}.der"),
        );
        keytool(site, &format!("-exportcert {ca} -rfc -file ca-{store}.pem"));
        let trusted = format!("-alias ca -storepass PASS -keystore {store}");
        keytool(
            site,
            &format!("{old} -importcert -noprompt {trusted} -file ca-{store}.pem"),
        );
        keytool(
            site,
            &format!("{old} -importcert -noprompt {own} -file {store}.der"),
        );
    }
    let written = |what, store: &str| Written {
        what,
        files: vec![store.to_owned()],
        key: None,
        encrypted: true,
        certificate: openssl(site, &format!("x509 -inform DER -in {store}.der")),
    };
    vec![
        written("PKCS#12 of Java 17", "j.p12"),
        written("PKCS#12 as of Java 8", "j.pfx"),
    ]
}
