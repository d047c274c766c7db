"""A configuration as an answer: the forwarding rules in a saved ``config.json``, or as the PBX itself shows them.

The file is read as data; nothing in it is run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.errors import AnswerError
from labkit.grading.verdict import Feedback

FILE, CAPTURE = "config.json", "capture.pcapng"
"""What :meth:`labkit.lab.Lab.save_evidence` writes."""
LARGEST = 1 << 20


@dataclass(frozen=True)
class Configuration:
    """Forwarding rules as plain values, and the capture that was saved with them."""

    rules: tuple[Mapping[str, Any], ...]
    capture: Path | None = None

    @classmethod
    def of(cls, answer: object) -> Configuration | None:
        """The configuration that an answer is, or the file or folder that it names; ``None`` when it is none.

        Raises :class:`~labkit.errors.AnswerError` for a file of that name that cannot be read as one.
        """
        from labkit.lab import Lab
        from labkit.pbx.plain import plain
        from labkit.pbx.rules import ExtensionRules

        if isinstance(answer, Lab):
            return None if answer.closed else cls(tuple(answer.configuration()["rules"]))
        if isinstance(answer, ExtensionRules):
            return cls((plain(answer),))
        if isinstance(answer, (list, tuple)) and answer and all(isinstance(one, ExtensionRules) for one in answer):
            return cls(tuple(plain(one) for one in answer))
        if not isinstance(answer, (str, Path)) or not str(answer).strip() or len(str(answer)) > 1000:
            return None
        path = Path(str(answer).strip())
        if path.suffix.lower() == ".json":
            return cls._read(path)
        try:
            return cls._read(path / FILE) if (path / FILE).is_file() else None
        except (OSError, ValueError):  # words that are no name of a folder
            return None

    @classmethod
    def _read(cls, path: Path) -> Configuration:
        try:
            with path.open("rb") as file:
                rules = json.loads(file.read(LARGEST))["rules"]
            if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
                raise TypeError("rules")
        except OSError as error:
            raise AnswerError("grading.config_unreadable", path=path, reason=error.strerror or error) from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise AnswerError("grading.no_config", path=path) from error
        beside = path.with_name(CAPTURE)
        return cls(tuple(rules), beside if beside.is_file() else None)

    def lacks(self, extension: int, target: int, seconds: float) -> Feedback | None:
        """What is not so when calls of ``extension`` are to go to ``target`` after ``seconds`` without an answer; ``None`` when all is."""
        rule = next((rule for rule in self.rules if rule.get("extension") == str(extension)), None)
        available = rule.get("available") if rule is not None else None
        if not isinstance(available, dict):
            return Feedback("grading.q2_3.no_rule", {"extension": extension})
        to, after = available.get("no_answer"), available.get("no_answer_after_s")
        if available.get("all_calls"):
            return Feedback("grading.q2_3.at_once", {"extension": extension})
        if not isinstance(to, dict):
            return Feedback("grading.q2_3.no_rule", {"extension": extension})
        if (to.get("target"), to.get("number")) != ("extension", str(target)):
            return Feedback("grading.q2_3.other_target", {"target": f"{to.get('target')} {to.get('number') or ''}".strip()})
        if after != seconds:
            return Feedback("grading.q2_3.other_seconds", {"seconds": after})
        return None
