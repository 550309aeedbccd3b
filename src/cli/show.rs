//! One certificate as people read it.

use std::path::Path;

use super::output::table;
use super::render::{date, kind};
use crate::admin::api::{
    Certificate, CertificateDetails, ChainCertificate, Details, Extension, NameWarnings,
    RequestDetails, Warning,
};

/// Labels and values, a line each; a label is left out where it is that of the line above.
#[derive(Default)]
struct Fields(Vec<(&'static str, String)>);

impl Fields {
    fn add(&mut self, label: &'static str, value: impl Into<String>) {
        self.0.push((label, value.into()));
    }

    fn add_some(&mut self, label: &'static str, value: Option<&String>) {
        if let Some(value) = value {
            self.add(label, value);
        }
    }

    /// All in one line, if there are any.
    fn add_all(&mut self, label: &'static str, values: &[String]) {
        if !values.is_empty() {
            self.add(label, values.join(", "));
        }
    }

    /// A line for each.
    fn add_lines(&mut self, label: &'static str, lines: impl IntoIterator<Item = String>) {
        for line in lines {
            self.add(label, line);
        }
    }

    fn add_file(&mut self, label: &'static str, path: Option<&Path>) {
        if let Some(path) = path {
            self.add(label, path.display().to_string());
        }
    }

    fn text(self) -> String {
        let mut last = "";
        let rows = self.0.into_iter().map(|(label, value)| {
            let shown = if label == last { "" } else { label };
            last = label;
            vec![shown.to_owned(), printable(&value)]
        });
        let text = table(&["", ""], rows);
        text.split_once('\n')
            .map_or(String::new(), |(_, rows)| rows.to_owned())
    }
}

/// What others have written into a certificate does nothing to a terminal.
fn printable(text: &str) -> String {
    let escaped = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().map(escaped).collect()
}

/// `cert show`
pub(super) fn show(document: &CertificateDetails) -> String {
    let certificate = &document.certificate;
    let mut fields = Fields::default();
    fields.add("Name", &certificate.name);
    fields.add("Kind", kind(certificate.kind));
    if certificate.default {
        fields.add("Default", "yes");
    }
    fields.add_some("Subject", certificate.subject.as_ref());
    fields.add_some("Issuer", certificate.issuer.as_ref());
    fields.add_all("Names", &certificate.names);
    fields.add_all("Addresses", &certificate.addresses);
    add_validity(&mut fields, certificate, document.details.as_ref());
    fields.add_some("Key", certificate.key_type.as_ref());
    if let Some(details) = &document.details {
        add_details(&mut fields, details, certificate.sha256.as_ref());
    }
    let problems = certificate.problems.iter();
    fields.add_lines("Problem", problems.map(|problem| problem.message.clone()));
    if let Some(request) = &document.request {
        add_request(&mut fields, request);
    }
    fields.text()
}

fn add_validity(fields: &mut Fields, certificate: &Certificate, details: Option<&Details>) {
    if let (Some(from), Some(to)) = (certificate.not_before, certificate.not_after) {
        let left = details.map_or(String::new(), |details| days(details.days_left));
        fields.add("Valid", format!("{from} to {to}{left}"));
    }
    let Some(standing) = &certificate.standing else {
        return;
    };
    fields.add(
        "Standing",
        match &certificate.next_change {
            Some(change) => format!(
                "{standing}, from {} on {}: {}",
                change.at, change.standing, change.why
            ),
            None => standing.clone(),
        },
    );
}

fn days(left: i64) -> String {
    match left {
        1 => ", 1 day left".to_owned(),
        0.. => format!(", {left} days left"),
        _ => String::new(),
    }
}

fn add_details(fields: &mut Fields, details: &Details, sha256: Option<&String>) {
    fields.add("Version", details.version.to_string());
    fields.add("Serial", &details.serial);
    fields.add("Signature", &details.signature_algorithm);
    fields.add_all("Key usage", &details.key_usage);
    fields.add_all("Use", &details.extended_key_usage);
    if let Some(constraints) = details.basic_constraints {
        let path = constraints.path_length;
        let path = path.map_or(String::new(), |path| format!(", path length {path}"));
        let ca = if constraints.ca { "yes" } else { "no" };
        fields.add("CA", format!("{ca}{path}"));
    }
    fields.add_some("Subject key", details.subject_key_id.as_ref());
    fields.add_some("Issuer key", details.authority_key_id.as_ref());
    fields.add_all("OCSP", &details.ocsp);
    fields.add_all("CA issuers", &details.ca_issuers);
    fields.add_all("CRL", &details.crl);
    fields.add_all("Policies", &details.policies);
    fields.add("SCTs", details.scts.to_string());
    if details.must_staple {
        fields.add("Must staple", "yes");
    }
    let others = details.other_extensions.iter();
    fields.add_lines("Extension", others.map(extension));
    fields.add_some("SHA-256", sha256);
    fields.add("SHA-1", &details.sha1);
    fields.add("Key id", &details.key_id);
    fields.add("SPKI SHA-256", &details.spki_sha256);
    fields.add("SPKI pin", &details.spki_pin);
    fields.add("TLSA", &details.tlsa);
    fields.add_lines("Chain", details.chain.iter().map(link));
    fields.add_lines("Browsers", details.warnings.iter().map(browser));
    fields.add_file("Certificate", details.certificate_file.as_deref());
    fields.add_file("Key file", details.key_file.as_deref());
}

fn extension(extension: &Extension) -> String {
    match extension.critical {
        true => format!("{}, critical", extension.oid),
        false => extension.oid.clone(),
    }
}

fn link(link: &ChainCertificate) -> String {
    format!(
        "{}, issued by {}, {} to {}, SHA-256 {}",
        link.subject,
        link.issuer,
        date(link.not_before),
        date(link.not_after),
        link.sha256
    )
}

fn browser(name: &NameWarnings) -> String {
    let warnings: Vec<_> = name
        .warnings
        .iter()
        .map(|warning| match warning {
            Warning::NotTrusted => "not trusted",
            Warning::OutOfDate => "out of date",
            Warning::WrongName => "wrong name",
        })
        .collect();
    match warnings.as_slice() {
        [] => format!("{}: no warning", name.name),
        warnings => format!("{}: {}", name.name, warnings.join(", ")),
    }
}

/// The request itself, or the one beside a certificate.
fn add_request(fields: &mut Fields, request: &RequestDetails) {
    fields.add(
        "Request",
        "waits for its certificate: \"gatepost cert import-signed FILE\"",
    );
    fields.add("Asks for", &request.subject);
    let names = [&*request.names, &*request.addresses].concat();
    fields.add_all("Asked names", &names);
    fields.add(
        "Asked key",
        format!("{}, key id {}", request.key_type, request.key_id),
    );
    fields.add_file("Request file", request.request_file.as_deref());
    fields.add_file("Request key", request.key_file.as_deref());
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, from_value, json};

    #[test]
    fn a_certificate_is_shown_with_all_there_is() {
        let mut document = certificate();
        let details = json!({
            "version": 3, "serial": "0a", "signature_algorithm": "ecdsa-with-SHA256",
            "subject_fields": [{"name": "CN", "value": "mail.example.org"}],
            "issuer_fields": [{"name": "CN", "value": "CA"}], "days_left": 54,
            "key_usage": ["digitalSignature"], "extended_key_usage": ["serverAuth", "1.2.3"],
            "basic_constraints": {"ca": false, "path_length": null},
            "subject_key_id": "01", "authority_key_id": "02",
            "ocsp": ["http://ocsp.example"], "ca_issuers": ["http://ca.example/\u{1b}[31m"],
            "crl": ["http://crl.example"], "policies": ["2.23.140.1.2.1 (domain validated)"],
            "scts": 2, "must_staple": true, "other_extensions": [{"oid": "1.2", "critical": true}],
            "sha1": "a1", "key_id": "1111",
            "certificate_file": "/c/mail.crt", "key_file": "/c/mail.key",
            "request": {
                "subject": "CN=new", "subject_fields": [], "names": ["new"],
                "addresses": ["192.0.2.2"], "key_type": "rsa-2048",
                "signature_algorithm": "sha256WithRSAEncryption", "key_id": "2222",
                "spki_sha256": "22", "request_file": "/c/mail.csr", "key_file": "/c/mail.key",
            },
            "spki_sha256": "11", "spki_pin": "EQ==", "tlsa": "3 1 1 11",
            "chain": [
                {"subject": "CN=mail.example.org", "issuer": "CN=CA", "sha256": "00ff",
                 "not_before": "2026-01-01T00:00:00Z", "not_after": "2027-01-01T00:00:00Z"},
                {"subject": "CN=CA", "issuer": "CN=Root", "sha256": "01",
                 "not_before": "2026-01-01T00:00:00Z", "not_after": "2028-01-01T00:00:00Z"},
            ],
            "next_change": {"at": "2027-01-01T00:00:01Z", "standing": "expired",
                            "why": "the certificate expires"},
            "warnings": [
                {"name": "a", "warnings": []},
                {"name": "other", "warnings": ["not-trusted", "wrong-name"]},
            ],
        });
        document
            .as_object_mut()
            .unwrap()
            .extend(details.as_object().unwrap().clone());
        assert_eq!(
            show(&from_value(document).unwrap()),
            "Name          mail.example.org\n\
             Kind          certificate\n\
             Default       yes\n\
             Subject       CN=mail.example.org\n\
             Issuer        CN=CA\n\
             Names         a, b, c, d, e\n\
             Addresses     192.0.2.1\n\
             Valid         2026-01-01T00:00:00Z to 2027-01-01T00:00:00Z, 54 days left\n\
             Standing      trusted, from 2027-01-01T00:00:01Z on expired: the certificate expires\n\
             Key           ecdsa-p256\n\
             Version       3\n\
             Serial        0a\n\
             Signature     ecdsa-with-SHA256\n\
             Key usage     digitalSignature\n\
             Use           serverAuth, 1.2.3\n\
             CA            no\n\
             Subject key   01\n\
             Issuer key    02\n\
             OCSP          http://ocsp.example\n\
             CA issuers    http://ca.example/\\u{1b}[31m\n\
             CRL           http://crl.example\n\
             Policies      2.23.140.1.2.1 (domain validated)\n\
             SCTs          2\n\
             Must staple   yes\n\
             Extension     1.2, critical\n\
             SHA-256       00ff\n\
             SHA-1         a1\n\
             Key id        1111\n\
             SPKI SHA-256  11\n\
             SPKI pin      EQ==\n\
             TLSA          3 1 1 11\n\
             Chain         CN=mail.example.org, issued by CN=CA, 2026-01-01 to 2027-01-01, SHA-256 00ff\n\
             \x20             CN=CA, issued by CN=Root, 2026-01-01 to 2028-01-01, SHA-256 01\n\
             Browsers      a: no warning\n\
             \x20             other: not trusted, wrong name\n\
             Certificate   /c/mail.crt\n\
             Key file      /c/mail.key\n\
             Request       waits for its certificate: \"gatepost cert import-signed FILE\"\n\
             Asks for      CN=new\n\
             Asked names   new, 192.0.2.2\n\
             Asked key     rsa-2048, key id 2222\n\
             Request file  /c/mail.csr\n\
             Request key   /c/mail.key\n"
        );
    }

    fn certificate() -> Value {
        json!({
            "name": "mail.example.org", "kind": "certificate",
            "subject": "CN=mail.example.org", "issuer": "CN=CA",
            "names": ["a", "b", "c", "d", "e"], "addresses": ["192.0.2.1"],
            "not_before": "2026-01-01T00:00:00Z", "not_after": "2027-01-01T00:00:00Z",
            "key_type": "ecdsa-p256", "sha256": "00ff", "standing": "trusted",
            "default": true, "problems": [],
        })
    }
}
