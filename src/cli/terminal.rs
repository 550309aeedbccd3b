//! A question on the terminal whose answer is not shown.

use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};

use crate::cert::Passphrase;

/// Longest answer in bytes.
const LONGEST: usize = 1024;

const END_OF_TEXT: u8 = 0x03;
const END_OF_TRANSMISSION: u8 = 0x04;
const BACKSPACE: u8 = 0x08;
const LINE_KILL: u8 = 0x15;
const QUIT: u8 = 0x1c;
const DELETE: u8 = 0x7f;

/// Asks for a pass phrase on standard input, a terminal, and puts the terminal back as it was.
pub(super) fn ask(question: &str) -> io::Result<Passphrase> {
    let stdin = io::stdin().lock();
    let quiet = Quiet::new(stdin.as_fd())?;
    let mut stderr = io::stderr().lock();
    write!(stderr, "{question}")?;
    stderr.flush()?;
    let answer = line(stdin.as_fd());
    drop(quiet);
    writeln!(stderr)?;
    answer.map(Passphrase::new)
}

/// A terminal that shows nothing and sends no signals, so that nothing ends the process before
/// it is as it was.
struct Quiet<'t> {
    terminal: BorrowedFd<'t>,
    before: Termios,
}

impl<'t> Quiet<'t> {
    fn new(terminal: BorrowedFd<'t>) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut quiet = before.clone();
        let off = LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG | LocalModes::IEXTEN;
        quiet.local_modes.remove(off);
        quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(terminal, OptionalActions::Drain, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        // A terminal that is gone needs no putting back.
        let _ = tcsetattr(self.terminal, OptionalActions::Drain, &self.before);
    }
}

/// Reads to the end of the line, byte by byte: what follows is not ours.
fn line(terminal: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let mut line = Vec::with_capacity(LONGEST);
    loop {
        let mut byte = [0];
        match rustix::io::read(terminal, &mut byte) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        match byte[0] {
            b'\n' | b'\r' => return Ok(line),
            END_OF_TEXT | QUIT => return Err(ErrorKind::Interrupted.into()),
            END_OF_TRANSMISSION if line.is_empty() => return Err(ErrorKind::UnexpectedEof.into()),
            LINE_KILL => line.clear(),
            BACKSPACE | DELETE => {
                // A letter may be several bytes.
                while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
            }
            _ if line.len() == LONGEST => return Err(ErrorKind::InvalidInput.into()),
            byte => line.push(byte),
        }
    }
}
