"""Logs in, appends a message, fetches it and compares it; prints what was fetched."""

import imaplib

from session import PASSWORD, connect, connect_over_tls, context, host, tls, user


class Imap(imaplib.IMAP4):
    def _create_socket(self, timeout):
        return connect_over_tls() if tls == "implicit" else connect()


imap = Imap(host)
if tls == "starttls":
    assert "STARTTLS" in imap.capabilities, imap.capabilities
    assert "LOGINDISABLED" in imap.capabilities, imap.capabilities
    imap.starttls(context)
assert "STARTTLS" not in imap.capabilities, imap.capabilities
assert "LOGINDISABLED" not in imap.capabilities, imap.capabilities
imap.login(user, PASSWORD)
message = f"From: {user}@example.org\r\nSubject: {tls}\r\n\r\nover {tls}\r\n".encode()
kind, answer = imap.append("INBOX", None, None, message)
assert kind == "OK", answer
imap.select("INBOX")
kind, numbers = imap.search(None, "SUBJECT", tls)
kind, answer = imap.fetch(numbers[0].split()[0], "(BODY.PEEK[])")
assert kind == "OK", answer
fetched = answer[0][1]
imap.logout()
assert fetched == message, fetched
print(fetched.decode(), end="")
