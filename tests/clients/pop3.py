"""Logs in and retrieves the first message; prints it."""

import poplib

from session import PASSWORD, connect, connect_over_tls, context, host, tls, user


class Pop3(poplib.POP3):
    def _create_socket(self, timeout):
        return connect_over_tls() if tls == "implicit" else connect()


pop3 = Pop3(host)
if tls == "starttls":
    clear = pop3.capa()
    assert "STLS" in clear and "USER" not in clear and "SASL" not in clear, clear
    pop3.stls(context)
capabilities = pop3.capa()
assert "STLS" not in capabilities, capabilities
assert "USER" in capabilities, capabilities
pop3.user(user)
pop3.pass_(PASSWORD)
answer, lines, size = pop3.retr(1)
pop3.quit()
print("".join(f"{line.decode()}\r\n" for line in lines), end="")
