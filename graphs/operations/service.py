"""Who may operate a deployment."""

from graphs.memory.errors import AccessDenied
from graphs.memory.principal import Principal


def only_service(principal: Principal) -> None:
    """Refuse whoever is not the service.

    Raises:
        AccessDenied: a person is acting.
    """
    if principal.user_id:
        raise AccessDenied("Only the service may operate the deployment.")
