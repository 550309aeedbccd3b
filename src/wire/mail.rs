//! What each mail protocol says instead of a greeting when there is no server to greet.
//!
//! A client that gets one of these lines knows whether to come back later or not at all; a bare
//! close would tell it nothing.

/// A mail protocol whose server speaks first.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum MailProtocol {
    /// RFC 9051
    Imap,
    /// RFC 1939
    Pop3,
    /// RFC 5321
    Smtp,
    /// RFC 6409
    Submission,
    /// RFC 5804
    ManageSieve,
}

/// The line for a client whose upstream cannot be reached: come back later.
///
/// SMTP: RFC 5321 section 3.8 with the code of RFC 3463 section 3.4, IMAP: RFC 5530, POP3: RFC 3206.
pub fn unavailable(protocol: MailProtocol, hostname: &str) -> String {
    match protocol {
        MailProtocol::Imap => {
            format!("* BYE [UNAVAILABLE] {hostname} Service not available\r\n")
        }
        MailProtocol::Pop3 => format!("-ERR [SYS/TEMP] {hostname} Service not available\r\n"),
        MailProtocol::Smtp | MailProtocol::Submission => {
            format!("421 4.3.2 {hostname} Service not available, closing transmission channel\r\n")
        }
        MailProtocol::ManageSieve => {
            format!("BYE (TRYLATER) \"{hostname} Service not available\"\r\n")
        }
    }
}

/// The line for a client that asks for a name, or none, for which there is no service here:
/// coming back will not help (RFC 5321 section 3.1: 554 in place of a greeting).
pub fn no_route(protocol: MailProtocol) -> &'static str {
    match protocol {
        MailProtocol::Imap => "* BYE No service for this name\r\n",
        MailProtocol::Pop3 => "-ERR [SYS/PERM] No service for this name\r\n",
        MailProtocol::Smtp | MailProtocol::Submission => "554 5.7.1 No service for this name\r\n",
        MailProtocol::ManageSieve => "BYE \"No service for this name\"\r\n",
    }
}

/// The line for a client that has too many connections open: come back with fewer.
pub fn too_many(protocol: MailProtocol) -> &'static str {
    match protocol {
        MailProtocol::Imap => "* BYE [LIMIT] Too many connections\r\n",
        MailProtocol::Pop3 => "-ERR [SYS/TEMP] Too many connections\r\n",
        MailProtocol::Smtp | MailProtocol::Submission => "421 4.7.0 Too many connections\r\n",
        MailProtocol::ManageSieve => "BYE (TRYLATER) \"Too many connections\"\r\n",
    }
}

/// The line for a client whose address is not served here.
pub fn denied(protocol: MailProtocol) -> &'static str {
    match protocol {
        MailProtocol::Imap => "* BYE Access denied\r\n",
        MailProtocol::Pop3 => "-ERR [SYS/PERM] Access denied\r\n",
        MailProtocol::Smtp | MailProtocol::Submission => "554 5.7.1 Access denied\r\n",
        MailProtocol::ManageSieve => "BYE \"Access denied\"\r\n",
    }
}

/// The line for a client that has not begun TLS in time (RFC 5321 section 3.8, RFC 3501
/// section 7.1.5, RFC 5804 section 1.3).
pub fn timed_out(protocol: MailProtocol, hostname: &str) -> String {
    match protocol {
        MailProtocol::Imap => "* BYE Timeout before STARTTLS\r\n".to_owned(),
        MailProtocol::Pop3 => "-ERR Timeout before STLS\r\n".to_owned(),
        MailProtocol::Smtp | MailProtocol::Submission => {
            format!("421 4.4.2 {hostname} Timeout, closing transmission channel\r\n")
        }
        MailProtocol::ManageSieve => "BYE \"Timeout before STARTTLS\"\r\n".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_begins_as_its_protocol_demands() {
        use MailProtocol::{Imap, ManageSieve, Pop3, Smtp, Submission};

        let cases = [
            (Imap, ["* BYE [UNAVAILABLE] ", "* BYE ", "* BYE [LIMIT] "]),
            (
                Pop3,
                ["-ERR [SYS/TEMP] ", "-ERR [SYS/PERM] ", "-ERR [SYS/TEMP] "],
            ),
            (
                Smtp,
                ["421 4.3.2 mail.example.com ", "554 5.7.1 ", "421 4.7.0 "],
            ),
            (
                Submission,
                ["421 4.3.2 mail.example.com ", "554 5.7.1 ", "421 4.7.0 "],
            ),
            (
                ManageSieve,
                ["BYE (TRYLATER) \"", "BYE \"", "BYE (TRYLATER) \""],
            ),
        ];
        for (protocol, starts) in cases {
            let lines = [
                &unavailable(protocol, "mail.example.com"),
                no_route(protocol),
                too_many(protocol),
            ];
            for (line, start) in lines.into_iter().zip(starts) {
                let text = line.strip_prefix(start).unwrap_or_else(|| panic!("{line}"));
                let text = text.strip_suffix("\r\n").unwrap();
                assert!(
                    text.bytes()
                        .all(|byte| byte == b' ' || byte.is_ascii_graphic())
                );
            }
        }
    }
}
