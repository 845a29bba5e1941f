"""An explanation of row-level security: why a user can or cannot read an item."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from graphs.memory.database import statements
from graphs.memory.database.database import Database, to_the_end
from graphs.memory.database.query import Query
from graphs.memory.principal import Principal
from graphs.memory.values.namespaces import Namespace, check_address, to_text

_SQL = statements.load("policies", __package__)


class Policy(BaseModel):
    """A row-level security policy and its result for one item and one user."""

    model_config = ConfigDict(frozen=True)

    name: str
    permissive: bool = Field(
        description="At least one permissive policy must hold, and every restrictive one."
    )
    condition: str
    holds: bool | None = Field(description="None if there is no such item.")


class Explanation(BaseModel):
    """Why a user can or cannot read an item."""

    model_config = ConfigDict(frozen=True)

    visible: bool = Field(
        description="Whether the user, or the agent for them, can read it. Tried, not concluded."
    )
    because: str
    claims: dict[str, str | None] = Field(
        description="The claims that policies use: `sub`, and `agent` if an agent acts."
    )
    organisations: list[str] = Field(description="The user's organisations.")
    item: dict[str, Any] | None = Field(
        description="The row without its content; None if there is no such row."
    )
    policies: list[Policy]


async def explain(
    database: Database, user_id: str, namespace: Namespace, key: str, agent: str | None = None
) -> Explanation:
    """Return why a user, or an agent that acts for them, can or cannot read an item.

    Raises:
        InvalidInput: no item can have this address.
        AccessDenied: `user_id` is not a UUID.
    """
    check_address(namespace, key)
    person = Principal.user(user_id).through(agent)
    given = {"namespace": to_text(namespace), "key": key}
    looked: Query[Any] = Query(_SQL["row_and_policies"], given, lambda rows: rows[0])
    read: Query[bool] = Query(_SQL["is_visible"], given, lambda rows: bool(rows[0].visible))
    as_owner = Principal("none", person.user_id, agent)
    evaluated = [Query(_SQL["ask_about"], given), Query(_SQL["evaluate"]), looked]
    *_, told = await to_the_end(database.run(as_owner, evaluated))
    [visible] = await to_the_end(database.run(person, [read])) if told.granted else [False]
    policies = [
        Policy(**{**policy, "holds": policy["holds"] if told.item else None})
        for policy in told.policies
    ]
    return Explanation(
        visible=visible,
        because=_reason(told, policies, visible, person),
        claims={"sub": person.user_id, "agent": agent},
        organisations=told.organisations,
        item=told.item,
        policies=policies,
    )


def _reason(told: Any, policies: Sequence[Policy], visible: bool, person: Principal) -> str:
    if told.item is None:
        return "There is no such item: look at its namespace and key, and whether it was deleted."
    if not told.granted:
        return (
            "The role `authenticated` may not read memory.memories: "
            "run `graph-memory schema apply`."
        )
    if not told.protected:
        return (
            "Row-level security is off on memory.memories, so that everybody can read it: "
            "run `graph-memory schema apply`."
        )
    refusing = [policy for policy in policies if not policy.permissive and not policy.holds]
    letting = [policy.name for policy in policies if policy.permissive and policy.holds]
    if not letting:
        whose = _whose(told.item, told.organisations)
        return (
            f"No policy lets this user read it: {whose}, and the claim `sub` is {person.user_id}."
        )
    if refusing:
        names = ", ".join(policy.name for policy in refusing)
        return (
            f"The policy {names} denies access: the item belongs to another agent, "
            f"and the claim `agent` is {person.agent}."
        )
    if told.expired:
        return "It has expired: policies allow access, but the store hides it until the next sweep."
    return (
        f"The policy {', '.join(letting)} allows access."
        if visible
        else "Something other than a policy hides it."
    )


def _whose(item: Mapping[str, Any], organisations: Sequence[str]) -> str:
    if item["user_id"]:
        return f"it belongs to the user {item['user_id']}"
    if item["org_id"]:
        theirs = ", ".join(organisations) or "none"
        return f"it belongs to the organisation {item['org_id']}, and the user's are {theirs}"
    return "its namespace begins with none of users, orgs and agents, so only the service reads it"
