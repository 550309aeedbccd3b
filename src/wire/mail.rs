//! What each mail protocol says when the server behind cannot be reached.

/// The line that ends a connection whose upstream is not there (RFC 5321, 9051, 1939):
/// `protocol` is one of `imap`, `pop3`, `smtp`, `submission`; others get nothing.
pub fn unavailable(_protocol: &str, _hostname: &str) -> &'static [u8] {
    todo!()
}
