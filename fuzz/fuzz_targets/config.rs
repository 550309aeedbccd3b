//! `proxy.toml`, as wrong as an administrator in a hurry can write it.

#![no_main]

use std::path::Path;

use gatepost::config::parse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(errors) = parse(text, Path::new("proxy.toml")) {
        assert!(!errors.to_string().is_empty());
    }
});
