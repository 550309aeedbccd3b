//! Between client and server of IMAP (RFC 9051) until login.

use super::{GuardError, Taken};

pub(super) struct Imap(());

impl Imap {
    pub(super) fn new(known: &[String]) -> Self {
        let _ = known;
        todo!()
    }

    pub(super) fn client(
        &mut self,
        bytes: &[u8],
        server: &mut Vec<u8>,
        client: &mut Vec<u8>,
    ) -> Result<Taken, GuardError> {
        let _ = (bytes, server, client);
        todo!()
    }

    pub(super) fn server(&mut self, bytes: &[u8], client: &mut Vec<u8>) -> Result<(), GuardError> {
        let _ = (bytes, client);
        todo!()
    }

    pub(super) fn greeting(&mut self, greeting: &[u8]) -> Vec<u8> {
        let _ = greeting;
        todo!()
    }

    pub(super) fn is_done(&self) -> bool {
        todo!()
    }
}
