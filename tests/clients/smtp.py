"""Sends a message to USER@example.org; with "login" as a further argument, after giving a password."""

import smtplib

from session import PASSWORD, connect, connect_over_tls, context, host, more, tls, user


class Smtp(smtplib.SMTP):
    def _get_socket(self, host, port, timeout):
        return connect_over_tls() if tls == "implicit" else connect()


smtp = Smtp(host)
smtp.ehlo("client.example.net")
if tls == "starttls":
    assert smtp.has_extn("starttls"), smtp.esmtp_features
    assert not smtp.has_extn("auth"), smtp.esmtp_features
    smtp.starttls(context=context)
    smtp.ehlo("client.example.net")
for word in ("starttls", "xclient", "xforward"):
    assert not smtp.has_extn(word), smtp.esmtp_features
address = f"{user}@example.org"
if "login" in more:
    smtp.login(user, PASSWORD)
message = f"From: {address}\r\nTo: {address}\r\nSubject: {tls}\r\n\r\nover {tls}\r\n"
refused = smtp.sendmail(address, [address], message)
assert not refused, refused
smtp.quit()
