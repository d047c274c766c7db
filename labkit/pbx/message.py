"""MESSAGE outside a call: a text from phone to phone (RFC 3428), sent on in a transaction of the PBX's own."""

from __future__ import annotations

from labkit.pbx.asking import PASSED
from labkit.pbx.dialplan import Party
from labkit.pbx.stack import SipStack
from labkit.sip.headers import NameAddr
from labkit.sip.message import Headers, Request, Response
from labkit.sip.transaction import Transaction
from labkit.sip.uri import SipUri


def relay_message(stack: SipStack, transaction: Transaction, caller: Party, callee: Party, target: SipUri, max_forwards: int) -> None:
    """Send the text of ``transaction`` to ``target`` and its final response back."""
    original = transaction.request
    headers = Headers([("Max-Forwards", str(max_forwards))])
    headers.append("From", NameAddr(f"sip:{caller.number}@{stack.host}", caller.name).with_tag(stack.token(6)))
    headers.append("To", NameAddr(f"sip:{callee.number}@{stack.host}"))
    headers.append("Call-ID", f"{stack.token(12)}@{stack.advertised[0]}")
    headers.append("CSeq", "1 MESSAGE")
    headers.copy_from(original.headers, *PASSED)

    def answered(response: Response | None) -> None:
        status = response.status if response is not None else 408
        if status >= 200:
            stack.respond(transaction, original.response(status, response.reason if response else "", to_tag=stack.token(4)))

    stack.send(Request("MESSAGE", target.without_headers(), headers, original.body), target.address, answered)
