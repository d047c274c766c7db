"""SIP without input or output: bytes in, objects and events out.

No socket, no asyncio, no clock and no random number here: the time is passed in as ``now`` (seconds), randomness as a callable.
``message`` and ``headers`` read and write, ``transaction`` and ``dialog`` remember, ``pbx`` and ``capture`` use them.
"""
