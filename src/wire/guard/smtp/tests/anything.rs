//! Clients that say anything, to servers that read it in different ways.

use proptest::prelude::*;

use super::Mode;
use super::oracle::{Server, Setting, hold};

/// What a client says; legible if a test fails.
struct Said(Vec<u8>);

impl std::fmt::Debug for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

/// What a client might say, in one piece after the other.
fn client() -> impl Strategy<Value = Said> {
    const PIECES: &[&[u8]] = &[
        b"EHLO c\r\n",
        b"HELO c\r\n",
        b"NOOP\r\n",
        b"RSET\r\n",
        b"AUTH PLAIN\r\n",
        b"AUTH PLAIN AAAA\r\n",
        b"MAIL FROM:<>\r\nRCPT TO:<a@b>\r\n",
        b"DATA\r\n",
        b"data\n",
        b"BDAT 23\r\n",
        b"BDAT 23 LAST\r\n",
        b"BDAT 0\r\n",
        b"BDAT 0 LAST\r\n",
        b"BDAT 4294967319\r\n",
        b" BDAT 23\r\n",
        b"BDAT 23\n",
        b"XCLIENT ADDR=10.0.0.1\r\n",
        b"xforward\tADDR=10.0.0.1\n",
        b"STARTTLS\r\n",
        b"\r\n.\r\n",
        b".\r\n",
        b"\n.\r\n",
        b"\r\n.\n",
        b"\n.\n",
        b"\r",
        b"\n",
        b"\r\n",
        b".",
        b"\0",
        b" ",
        b"text",
        b"*\r\n",
    ];
    let piece = prop_oneof![
        12 => proptest::sample::select(PIECES).prop_map(<[u8]>::to_vec),
        1 => proptest::collection::vec(any::<u8>(), 1..8),
        1 => (2030_usize..2050).prop_map(|length| {
            format!("AUTH PLAIN {:A<1$}", "", length - 11).into_bytes()
        }),
    ];
    let hello = prop_oneof![3 => Just(&b"EHLO c\r\n"[..]), 1 => Just(&b""[..])];
    (hello, proptest::collection::vec(piece, 1..24))
        .prop_map(|(hello, pieces)| Said([hello, &pieces.concat()].concat()))
}

fn setting() -> impl Strategy<Value = Setting> {
    let choices = proptest::collection::vec(any::<u8>(), 1..24);
    (any::<[bool; 2]>(), any::<u8>(), choices).prop_map(|([open, known], bits, choices)| Setting {
        mode: if open { Mode::Open } else { Mode::Closed },
        known,
        server: Server::from_bits(bits),
        choices,
        cut: true,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_server_sees_what_is_not_for_clients(client in client(), setting in setting()) {
        hold(&setting, &client.0);
    }

    #[test]
    fn it_does_not_matter_where_the_bytes_are_cut(client in client(), setting in setting()) {
        // What comes unasked, or before a line is whole, comes when it comes.
        let server = Server { lax: false, hasty: false, cutting: false, ..setting.server };
        let pieces = Setting { server, ..setting };
        let whole = Setting { cut: false, ..pieces.clone() };
        let (pieces, whole) = (hold(&pieces, &client.0), hold(&whole, &client.0));
        if pieces.error.is_none() && whole.error.is_none() {
            prop_assert_eq!(pieces, whole);
        }
    }
}
