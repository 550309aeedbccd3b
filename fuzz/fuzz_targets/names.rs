//! Host names and wildcards: from ClientHellos, certificates, the configuration and commands.

#![no_main]

use gatepost::cert::{DnsName, NamePattern};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let name = DnsName::parse(text);
    if let Ok(name) = &name {
        assert_eq!(DnsName::parse(&name.to_string()).as_ref(), Ok(name));
    }
    if let Ok(pattern) = NamePattern::parse(text) {
        assert_eq!(
            NamePattern::parse(&pattern.to_string()).as_ref(),
            Ok(&pattern)
        );
        assert_eq!(
            name.is_ok_and(|name| pattern.matches(&name)),
            !text.starts_with('*')
        );
    }
});
