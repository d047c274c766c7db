"""The PBX of the lab: a registrar and a back-to-back user agent.  Signalling only: voices go from phone to phone.

Read ``call.py`` first: it tells the story of a call.  Then, in the order in which a call meets them: ``switchboard`` lets it in,
``dialplan`` says what its number means (``rules``, ``groups``, ``features``), ``hunt`` finds somebody who answers, ``transfer`` and
``pickup`` exchange one of its phones.  ``leg`` is how one phone is spoken to, ``registrar`` where phones are, ``auth`` who they are,
``notifier`` what they watch, ``stack`` how messages come and go; ``config`` says what a PBX knows, ``server`` ties them together.
"""

from __future__ import annotations

from labkit.pbx.config import Extension as Extension
from labkit.pbx.config import PbxConfig as PbxConfig
from labkit.pbx.events import PbxEvent as PbxEvent
from labkit.pbx.features import FeatureCodes as FeatureCodes
from labkit.pbx.groups import Gateway as Gateway
from labkit.pbx.groups import OutboundRule as OutboundRule
from labkit.pbx.groups import RingGroup as RingGroup
from labkit.pbx.rules import ExtensionRules as ExtensionRules
from labkit.pbx.rules import ForwardTo as ForwardTo
from labkit.pbx.rules import RuleException as RuleException
from labkit.pbx.rules import StatusRules as StatusRules
from labkit.pbx.server import Pbx as Pbx
