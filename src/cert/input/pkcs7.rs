//! PKCS#7 and CMS as CAs send certificates: a SignedData of which nothing but the certificates
//! counts (RFC 5652 section 5.1).

use crate::cert::BundleError;
use crate::cert::input::asn1::Fields;

const SIGNED_DATA: &str = "1.2.840.113549.1.7.2";
const ENVELOPED_DATA: &str = "1.2.840.113549.1.7.3";
const ENCRYPTED_DATA: &str = "1.2.840.113549.1.7.6";

/// The certificates in a ContentInfo, in their order.
pub(super) fn certificates(der: &[u8]) -> Result<Vec<&[u8]>, BundleError> {
    let damaged = || BundleError::Damaged { form: "PKCS#7" };
    let mut info = Fields::new(der).sequence().ok_or_else(damaged)?;
    match info.oid().ok_or_else(damaged)?.as_str() {
        SIGNED_DATA => signed_data(info).ok_or_else(damaged),
        ENVELOPED_DATA | ENCRYPTED_DATA => Err(BundleError::Foreign {
            found: "an encrypted PKCS#7 message",
        }),
        _ => Err(BundleError::Foreign {
            found: "a PKCS#7 message of another kind than signed data",
        }),
    }
}

fn signed_data<'d>(mut info: Fields<'d>) -> Option<Vec<&'d [u8]>> {
    let mut signed = info.tagged(0)?.sequence()?;
    let mut found = Vec::new();
    // Version, digest algorithms, content; then, if there are any, `[0]` certificates.
    while let Some(field) = signed.next() {
        let Some(mut set) = field.tagged(0) else {
            continue;
        };
        while let Some(choice) = set.next() {
            // Attribute certificates and the like are tagged, and of no use here.
            if choice.is(x509_parser::asn1_rs::Tag::Sequence) {
                found.push(choice.raw);
            }
        }
    }
    Some(found)
}
