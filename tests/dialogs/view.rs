//! New certificates with everything that can be asked for, and everything that is shown.

use std::fs;

use serde_json::{Value, json};

use super::{Desk, LISTENER, borrowed, call, openssl, options};
use crate::common::ca::{DAY, TestCa};
use crate::common::gatepost::Site;

fn all_fields() -> Value {
    json!({
        "hostnames": ["mail.example.org", "*.example.org", "192.0.2.7", "2001:db8::7", "bücher.example",
                      "Mail.Example.org."],
        "country": "de", "organization": "Example, Inc.", "unit": "Post", "city": "Köln",
        "state": "NRW", "days": 30, "key_type": "ecdsa-p384", "name": "office",
    })
}

#[test]
fn a_new_certificate_says_all_that_was_asked_for_in_each_way() {
    let ca = TestCa::today();
    for (way, desk) in Desk::all(&ca, &ca.root()) {
        assert_eq!(desk.new_certificate(&all_fields()), "office", "{way}");
        let shown = desk.show("office");
        let names = json!(["mail.example.org", "*.example.org", "xn--bcher-kva.example"]);
        assert_eq!(shown["names"], names, "{way}");
        assert_eq!(
            shown["addresses"],
            json!(["192.0.2.7", "2001:db8::7"]),
            "{way}"
        );
        let fields = json!([
            {"name": "C", "value": "DE"}, {"name": "ST", "value": "NRW"},
            {"name": "L", "value": "Köln"}, {"name": "O", "value": "Example, Inc."},
            {"name": "OU", "value": "Post"}, {"name": "CN", "value": "mail.example.org"},
        ]);
        assert_eq!(shown["subject_fields"], fields, "{way}");
        assert_eq!(shown["issuer_fields"], fields, "{way}");
        assert_eq!(shown["key_type"], "ecdsa-p384", "{way}");
        // Some of its first day may have passed by now.
        assert!(
            [29, 30].map(Value::from).contains(&shown["days_left"]),
            "{way}"
        );
        assert_eq!(shown["standing"], "self-signed", "{way}");
        assert_eq!(shown["next_change"]["standing"], "expired", "{way}");
        assert_eq!(
            shown["next_change"]["why"], "the certificate expires",
            "{way}"
        );
        assert_eq!(shown["version"], 3, "{way}");
        assert_eq!(shown["key_usage"], json!(["digitalSignature"]), "{way}");
        assert_eq!(shown["extended_key_usage"], json!(["serverAuth"]), "{way}");
        assert_eq!(
            shown["basic_constraints"],
            json!({"ca": false, "path_length": null})
        );
        let file = |name: &str| json!(desk.site().path("sslcert").join(name));
        assert_eq!(shown["certificate_file"], file("office.crt"), "{way}");
        assert_eq!(shown["key_file"], file("office.key"), "{way}");
        for warnings in shown["warnings"].as_array().unwrap() {
            assert_eq!(
                warnings["warnings"],
                json!(["not-trusted"]),
                "{way}: {warnings}"
            );
        }
        let pem = desk.export("office", "certificate");
        let sum = openssl(&["x509", "-noout", "-fingerprint", "-sha1"], &pem);
        let sum = sum
            .trim()
            .rsplit('=')
            .next()
            .unwrap()
            .replace(':', "")
            .to_lowercase();
        assert_eq!(shown["sha1"], sum.as_str(), "{way}");
    }
}

#[test]
fn what_cannot_be_made_is_said_in_the_same_words_in_each_way() {
    let ca = TestCa::today();
    let desks = Desk::all(&ca, &ca.root());
    let wrong = |field: &str, value: Value| {
        let mut document = json!({"hostnames": ["a.test"], "country": "DE"});
        document[field] = value;
        document
    };
    for (document, expected) in [
        (
            wrong("country", json!("Germany")),
            "country \"Germany\" is not two letters, expected a code such as \"DE\"",
        ),
        (wrong("hostnames", json!(["a..test"])), "a..test"),
        (wrong("hostnames", json!(["f*.test"])), "f*.test"),
        (
            wrong("organization", json!("x".repeat(65))),
            "organization of 65 characters, at most 64 are allowed",
        ),
        (
            wrong("name", json!("../a")),
            "\"../a\" cannot name a certificate: ",
        ),
        (
            wrong("days", json!(40_000)),
            "a validity of 40000 days, expected 1 to 36500",
        ),
    ] {
        for (way, desk) in &desks {
            for (verb, path) in [("new", "/v1/certificates"), ("request", "/v1/requests")] {
                if verb == "request" && document.get("days").is_some() {
                    continue;
                }
                let said = match desk {
                    Desk::Api(gatepost) => {
                        let (status, said) = call(gatepost, "POST", path, &document);
                        assert_eq!(status, 400, "{document}: {said}");
                        let said: Value = serde_json::from_str(&said).unwrap();
                        said["detail"].as_str().unwrap().to_owned()
                    }
                    desk => {
                        let options = options(&document);
                        let outcome =
                            desk.command(&[vec!["cert", verb], borrowed(&options)].concat());
                        assert_eq!(outcome.status.code(), Some(64), "{outcome:#?}");
                        assert_eq!(outcome.stdout, "");
                        outcome.stderr
                    }
                };
                assert!(said.contains(expected), "{way}, {verb}: {said}");
            }
        }
    }
    for (_, desk) in &desks {
        assert_eq!(desk.list(), ["server certificate"]);
    }
}

#[test]
fn a_request_cannot_say_how_long_and_that_is_said() {
    let ca = TestCa::today();
    for (way, desk) in Desk::all(&ca, &ca.root()) {
        let document = json!({"hostnames": ["a.test"], "country": "DE", "days": 90});
        let expected = "a request has no room for a number of days: the CA decides";
        let said = match &desk {
            Desk::Api(gatepost) => call(gatepost, "POST", "/v1/requests", &document).1,
            desk => {
                let options = options(&document);
                let made = desk.command(&[vec!["cert", "request"], borrowed(&options)].concat());
                assert_eq!(made.stdout, "a.test\n", "{way}");
                made.stderr
            }
        };
        assert!(said.contains(expected), "{way}: {said}");
    }
}

/// A document without what changes from one second to the next.
fn undated(document: &str) -> Value {
    let mut document: Value = serde_json::from_str(document).unwrap();
    document.as_object_mut().unwrap().remove("days_left");
    document
}

#[test]
fn the_folder_the_proxy_and_the_api_give_the_same_documents() {
    let ca = TestCa::today();
    let server = ca.leaf(&["server.test"]).issue();
    let site = Site::new(&ca, &[("server", &server)], LISTENER);
    let run = |arguments: &[&str]| site.command(arguments).ok();
    run(&["cert", "new", "--hostname", "a.test", "--country", "DE"]);
    run(&["cert", "request", "--from", "a.test"]);
    run(&[
        "cert",
        "request",
        "--hostname",
        "*.b.test",
        "--country",
        "DE",
    ]);
    let names = ["server", "a.test", "_.b.test"];
    let shown = names.map(|name| run(&["cert", "show", name, "--json"]));
    let list = run(&["cert", "list", "--json"]);
    let text = run(&["cert", "show", "_.b.test"]);
    let gatepost = site.start();
    for (name, shown) in names.into_iter().zip(&shown) {
        let by_command = gatepost
            .site
            .command(&["cert", "show", name, "--json"])
            .ok();
        assert_eq!(undated(&by_command), undated(shown), "{name}");
        let path = format!("/v1/certificates/{name}");
        let by_api = call(&gatepost, "GET", &path, &Value::Null).1;
        assert_eq!(undated(&by_api), undated(shown), "{name}");
    }
    assert_eq!(
        gatepost.site.command(&["cert", "list", "--json"]).ok(),
        list
    );
    assert_eq!(
        gatepost.site.command(&["cert", "show", "_.b.test"]).ok(),
        text
    );

    let request: Value = serde_json::from_str(&shown[2]).unwrap();
    assert_eq!(request["kind"], "request");
    assert_eq!(request["names"], json!(["*.b.test"]));
    assert_eq!(request["subject"], "CN=*.b.test,C=DE");
    assert_eq!(request["key_type"], "ecdsa-p256");
    let file = request["request"]["request_file"].as_str().unwrap();
    let pem = fs::read_to_string(file).unwrap();
    openssl(&["req", "-verify", "-noout"], &pem);
    assert!(text.contains(file), "{text}");
    let renewal: Value = serde_json::from_str(&shown[1]).unwrap();
    assert_eq!(renewal["kind"], "certificate");
    assert_eq!(renewal["request"]["key_id"], renewal["key_id"]);
}

#[test]
fn the_next_change_of_a_standing_names_what_ends() {
    let ca = TestCa::today();
    let short = ca.intermediate_until(5 * DAY);
    let chained = ca.leaf(&["chained.test"]).issued_by(&short);
    let own = ca.leaf(&["own.test"]).issue();
    let future = ca.leaf(&["future.test"]).dates(DAY, 9 * DAY).issue();
    let certificates = [("chained", &chained), ("own", &own), ("future", &future)];
    let site = Site::new(&ca, &certificates, LISTENER);
    for (name, standing, then, why) in [
        (
            "chained",
            "trusted",
            "valid",
            "the intermediate \"CN=Test Intermediate With An End\" expires",
        ),
        ("own", "trusted", "expired", "the certificate expires"),
        (
            "future",
            "not-yet-valid",
            "trusted",
            "the certificate becomes valid",
        ),
    ] {
        let shown = site.command(&["cert", "show", name, "--json"]).ok();
        let shown: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(shown["standing"], standing);
        assert_eq!(shown["next_change"]["standing"], then);
        assert_eq!(shown["next_change"]["why"], why);
        assert!(shown["chain"][1]["subject"].is_string());
    }
}
