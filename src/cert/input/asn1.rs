//! A walk through the elements of BER and DER, as far as the containers of keys and
//! certificates need it.
//!
//! Knows no container. Depth is bounded by asn1-rs for indefinite lengths, and by the callers,
//! who descend by hand, for the rest.

use std::borrow::Cow;

use x509_parser::asn1_rs::{Any, Class, FromBer as _, Oid, Tag};

/// How deep a string of strings is followed (X.690 section 8.7.3).
const DEEPEST_STRING: usize = 8;

/// Elements that follow each other.
#[derive(Clone, Copy)]
pub(in crate::cert) struct Fields<'d>(&'d [u8]);

/// One element.
pub(in crate::cert) struct Field<'d> {
    any: Any<'d>,
    /// With its tag and length.
    pub(super) raw: &'d [u8],
}

impl<'d> Fields<'d> {
    pub(in crate::cert) fn new(bytes: &'d [u8]) -> Self {
        Self(bytes)
    }

    /// The next element; `None` at the end, and if what follows is no element.
    pub(in crate::cert) fn next(&mut self) -> Option<Field<'d>> {
        let (rest, any) = Any::from_ber(self.0).ok()?;
        let raw = self.0.get(..self.0.len().checked_sub(rest.len())?)?;
        self.0 = rest;
        Some(Field { any, raw })
    }

    /// Whether all of it has been read.
    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The elements in the next one, a SEQUENCE.
    pub(in crate::cert) fn sequence(&mut self) -> Option<Self> {
        self.next()?.elements(Tag::Sequence)
    }

    /// The object identifier that comes next.
    pub(in crate::cert) fn identifier(&mut self) -> Option<Oid<'d>> {
        self.next()?.any.oid().ok()
    }

    /// The same in dots and digits.
    pub(super) fn oid(&mut self) -> Option<String> {
        self.identifier().map(|oid| oid.to_id_string())
    }

    /// The OCTET STRING that comes next.
    pub(in crate::cert) fn octets(&mut self) -> Option<Cow<'d, [u8]>> {
        octets(self.next()?.any, Tag::OctetString, DEEPEST_STRING)
    }

    /// The number that comes next, if it is not negative.
    pub(super) fn number(&mut self) -> Option<u64> {
        self.next()?.any.as_u64().ok()
    }

    /// The elements in the next one, `[number] EXPLICIT` or of a constructed type.
    pub(super) fn tagged(&mut self, number: u32) -> Option<Self> {
        self.next()?.tagged(number)
    }
}

impl<'d> Field<'d> {
    pub(super) fn is(&self, tag: Tag) -> bool {
        self.any.class() == Class::Universal && self.any.tag() == tag
    }

    /// The elements of a constructed type.
    pub(super) fn elements(self, tag: Tag) -> Option<Fields<'d>> {
        let constructed = self.is(tag) && self.any.header.is_constructed();
        constructed.then_some(Fields(self.any.data))
    }

    /// The elements below `[number]`.
    pub(super) fn tagged(self, number: u32) -> Option<Fields<'d>> {
        let header = &self.any.header;
        let tagged = header.class() == Class::ContextSpecific
            && header.tag() == Tag(number)
            && header.is_constructed();
        tagged.then_some(Fields(self.any.data))
    }

    /// The bytes of `[number] IMPLICIT OCTET STRING`.
    pub(super) fn implicit_octets(self, number: u32) -> Option<Cow<'d, [u8]>> {
        if self.any.class() != Class::ContextSpecific || self.any.tag() != Tag(number) {
            return None;
        }
        if !self.any.header.is_constructed() {
            return Some(Cow::Borrowed(self.any.data));
        }
        joined(self.any.data, DEEPEST_STRING)
    }

    /// The number that it is, if it is one and not negative.
    pub(super) fn number(&self) -> Option<u64> {
        self.any.as_u64().ok()
    }
}

/// The bytes of a string, put together from its parts where BER has cut it.
fn octets(any: Any<'_>, tag: Tag, depth: usize) -> Option<Cow<'_, [u8]>> {
    if any.class() != Class::Universal || any.tag() != tag {
        return None;
    }
    match any.header.is_constructed() {
        false => Some(Cow::Borrowed(any.data)),
        true => joined(any.data, depth),
    }
}

fn joined(parts: &[u8], depth: usize) -> Option<Cow<'_, [u8]>> {
    let depth = depth.checked_sub(1)?;
    let mut parts = Fields(parts);
    let mut whole = Vec::new();
    while !parts.is_empty() {
        whole.extend_from_slice(&octets(parts.next()?.any, Tag::OctetString, depth)?);
    }
    Some(Cow::Owned(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_in_parts_is_put_together() {
        for (bytes, expected) in [
            (&b"\x04\x02ab"[..], Some(&b"ab"[..])),
            (b"\x24\x08\x04\x01a\x04\x03bcd", Some(b"abcd")),
            (
                b"\x24\x80\x04\x01a\x24\x80\x04\x01b\x00\x00\x00\x00",
                Some(b"ab"),
            ),
            (b"\x24\x03\x02\x01\x01", None),
            (b"\x04\x03ab", None),
            (b"\x30\x00", None),
        ] {
            let found = Fields::new(bytes).octets();
            assert_eq!(found.as_deref(), expected, "{bytes:02x?}");
        }
    }

    #[test]
    fn a_string_that_is_nested_without_end_is_given_up() {
        let mut nested = b"\x04\x01a".to_vec();
        for _ in 0..DEEPEST_STRING + 2 {
            nested.splice(..0, [0x24, u8::try_from(nested.len()).unwrap()]);
        }
        assert_eq!(Fields::new(&nested).octets(), None);
        let endless = [0x24, 0x80].repeat(100_000);
        assert_eq!(Fields::new(&endless).octets(), None);
    }
}
