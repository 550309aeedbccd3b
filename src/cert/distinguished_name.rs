//! Distinguished names as text (RFC 4514), and the common names in them.

use std::fmt::Write as _;

use x509_parser::asn1_rs::{Any, Tag, ToDer};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use crate::cert::{Subject, hex};

/// RFC 4514 text, most specific first: `CN=mail.example.com,O=Example,C=DE`.
/// Control characters are escaped, so that the text is safe to print.
pub(super) fn text(name: &X509Name<'_>) -> String {
    let mut parts: Vec<String> = name
        .iter_rdn()
        .map(|rdn| rdn.iter().map(attribute).collect::<Vec<_>>().join("+"))
        .collect();
    parts.reverse();
    parts.join(",")
}

/// Common names in the order of the name; those that are no text are left out.
pub(super) fn common_names(name: &X509Name<'_>) -> Vec<String> {
    name.iter_common_name()
        .filter_map(|attribute| string_value(attribute.attr_value()))
        .collect()
}

/// Attributes in the order of the name: what each is called, and its value as it is.
pub(super) fn fields(name: &X509Name<'_>) -> Vec<(String, String)> {
    name.iter_attributes().map(field).collect()
}

/// The fields that the dialogs ask for; the first of each.
pub(super) fn subject(name: &X509Name<'_>) -> Subject {
    let fields = fields(name);
    let value = |label: &str| {
        let mut fields = fields.iter();
        let (_, value) = fields.find(|(name, _)| name == label)?;
        Some(value.clone())
    };
    Subject {
        country: value("C"),
        organization: value("O"),
        unit: value("OU"),
        city: value("L"),
        state: value("ST"),
    }
}

fn field(attribute: &AttributeTypeAndValue<'_>) -> (String, String) {
    let oid = attribute.attr_type().to_id_string();
    let label = short_name(&oid).map_or(oid, str::to_owned);
    let value = attribute.attr_value();
    let text = string_value(value).unwrap_or_else(|| hex_value(value));
    (label, text)
}

fn hex_value(value: &Any<'_>) -> String {
    format!("#{}", hex(&value.to_der_vec().unwrap_or_default()))
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type().to_id_string();
    let value = attribute.attr_value();
    match (short_name(&oid), string_value(value)) {
        (Some(short), Some(text)) => format!("{short}={}", escape(&text)),
        (short, _) => format!("{}={}", short.unwrap_or(&oid), hex_value(value)),
    }
}

/// The names of RFC 4514 section 3, and those that certificates often have besides.
fn short_name(oid: &str) -> Option<&'static str> {
    Some(match oid {
        "2.5.4.3" => "CN",
        "2.5.4.4" => "SN",
        "2.5.4.5" => "serialNumber",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "STREET",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.12" => "title",
        "2.5.4.15" => "businessCategory",
        "2.5.4.17" => "postalCode",
        "2.5.4.42" => "GN",
        "2.5.4.97" => "organizationIdentifier",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        "1.2.840.113549.1.9.1" => "emailAddress",
        "1.3.6.1.4.1.311.60.2.1.3" => "jurisdictionC",
        _ => return None,
    })
}

/// The text of any of the string types of X.520.
fn string_value(value: &Any<'_>) -> Option<String> {
    let bytes = value.as_bytes();
    match value.tag() {
        Tag::Utf8String
        | Tag::PrintableString
        | Tag::Ia5String
        | Tag::NumericString
        | Tag::VisibleString => String::from_utf8(bytes.to_vec()).ok(),
        // Those who still write T61String mean UTF-8 or Latin-1.
        Tag::T61String => Some(
            String::from_utf8(bytes.to_vec())
                .unwrap_or_else(|_| bytes.iter().copied().map(char::from).collect()),
        ),
        Tag::BmpString => String::from_utf16(&units(bytes, u16::from_be_bytes)?).ok(),
        Tag::UniversalString => units(bytes, u32::from_be_bytes)?
            .into_iter()
            .map(char::from_u32)
            .collect(),
        _ => None,
    }
}

fn units<const N: usize, T>(bytes: &[u8], read: fn([u8; N]) -> T) -> Option<Vec<T>> {
    let (whole, rest) = bytes.as_chunks::<N>();
    rest.is_empty()
        .then(|| whole.iter().map(|unit| read(*unit)).collect())
}

/// RFC 4514 section 2.4; control characters as `\XX` too.
fn escape(text: &str) -> String {
    let last = text.chars().count().saturating_sub(1);
    let mut escaped = String::with_capacity(text.len());
    for (at, c) in text.chars().enumerate() {
        let at_edge = (at == 0 && matches!(c, ' ' | '#')) || (at == last && c == ' ');
        if c.is_control() {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                write!(escaped, "\\{byte:02x}").expect("writing to a String cannot fail");
            }
            continue;
        }
        if at_edge || matches!(c, '"' | '+' | ',' | ';' | '<' | '>' | '\\') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}
