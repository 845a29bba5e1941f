"""The check that only the service operates a deployment."""

from graphs.memory.errors import AccessDenied
from graphs.memory.principal import Principal


def only_service(principal: Principal) -> None:
    """Check that the service is acting.

    Raises:
        AccessDenied: a user is acting.
    """
    if principal.user_id:
        raise AccessDenied(
            "Only the service may operate the deployment: run this as the service, not as a user."
        )
