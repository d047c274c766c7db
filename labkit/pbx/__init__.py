"""The PBX of the lab: a registrar and a back-to-back user agent.  Signalling only: voices go from phone to phone.

Read ``call.py`` first: it tells the story of a call.  ``config`` says what a PBX knows, ``registrar`` where phones are, ``auth`` who they
are, ``leg`` how one phone is spoken to, ``stack`` how messages come and go; ``server`` is the :class:`Pbx` that ties them.
"""

from __future__ import annotations

from labkit.pbx.config import Extension as Extension
from labkit.pbx.config import PbxConfig as PbxConfig
from labkit.pbx.events import PbxEvent as PbxEvent
from labkit.pbx.server import Pbx as Pbx
