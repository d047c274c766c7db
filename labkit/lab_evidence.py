"""What a teacher needs to see of a lab: the capture, and how the lab was set up, without its secrets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.errors import LabError
from labkit.pbx.plain import plain

if TYPE_CHECKING:
    from labkit.lab import Lab


def configuration(lab: Lab, options: dict[str, Any]) -> dict[str, Any]:
    """The lab as it is set up: addresses, options, extensions and their phones, forwarding rules.  No passwords, no PINs."""
    from labkit import __version__

    return {
        "labkit": __version__,
        **options,
        "pbx": {"address": list(lab.pbx.config.advertised), "realm": lab.pbx.config.realm, **options["pbx"]},
        "extensions": [
            {
                "number": extension.number,
                "first_name": extension.first_name,
                "last_name": extension.last_name,
                "email": extension.email,
                "auth_id": extension.auth_id or extension.number,
                "phone": list(phone.address),
                "codecs": list(phone.codecs),
                "registered": phone.registered,
            }
            for extension, phone in zip(lab.extensions, lab.phones, strict=False)  # behind them may come the phone of a gateway
        ],
        "rules": plain(lab.pbx.plan.all_rules),
    }


def save(lab: Lab, folder: str | Path) -> list[Path]:
    """Write ``config.json`` and ``capture.pcapng`` into ``folder`` and return both; raises :class:`LabError` when it cannot be used."""
    try:
        target = Path(folder).expanduser()
        target.mkdir(parents=True, exist_ok=True)
        config = target / "config.json"
        config.write_text(json.dumps(lab.configuration(), indent=2, ensure_ascii=False) + "\n", "utf-8")
    except (OSError, TypeError, ValueError) as error:
        raise LabError("lab.folder", folder=folder, reason=getattr(error, "strerror", None) or error) from error
    return [lab.capture.save(target / "capture.pcapng"), config]
