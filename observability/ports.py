"""Where what watches the platform listens on loopback."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class ObserverPorts:
    """Each is moved by a platform's port offset."""

    prometheus: int = 9090
    alertmanager: int = 9093

    def shifted(self, offset: int) -> ObserverPorts:
        """Every port plus `offset`."""
        return ObserverPorts(**{name: port + offset for name, port in asdict(self).items()})


DEFAULT_OBSERVER_PORTS = ObserverPorts()
