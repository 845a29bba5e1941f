"""Row-level security, looked at from one person's side: why they see an item, or do not."""

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
    """What a policy says of an item to a person who reads it."""

    model_config = ConfigDict(frozen=True)

    name: str
    permissive: bool = Field(description="One of these must hold, and all of the others.")
    condition: str
    holds: bool | None = Field(description="None where there is no item to say it of.")


class Explanation(BaseModel):
    """Why a person sees an item, or does not."""

    model_config = ConfigDict(frozen=True)

    visible: bool = Field(
        description="Whether the person, or the agent for them, reads it: tried, not concluded."
    )
    because: str
    claims: dict[str, str | None] = Field(
        description="What the policies go by: `sub`, and `agent` where one acts."
    )
    organisations: list[str] = Field(description="Those that the person is in.")
    item: dict[str, Any] | None = Field(
        description="The row without its content; None if there is none."
    )
    policies: list[Policy]


async def explain(
    database: Database, user_id: str, namespace: Namespace, key: str, agent: str | None = None
) -> Explanation:
    """Tell why a person, or an agent that acts for them, sees an item or does not.

    Raises:
        InvalidInput: no item can have this address.
        AccessDenied: `user_id` is no UUID.
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
        return "The role `authenticated` may not read memory.memories: run `graph-memory schema apply`."
    if not told.protected:
        return "Row-level security is off on memory.memories, and everybody sees it: run `graph-memory schema apply`."
    refusing = [policy for policy in policies if not policy.permissive and not policy.holds]
    letting = [policy.name for policy in policies if policy.permissive and policy.holds]
    if not letting:
        whose = _whose(told.item, told.organisations)
        return (
            f"No policy lets this person read it: {whose}, and the claim `sub` is {person.user_id}."
        )
    if refusing:
        names = ", ".join(policy.name for policy in refusing)
        return f"The policy {names} closes it: it is another agent's, and the claim `agent` is {person.agent}."
    if told.expired:
        return "It has expired: policies let it be read, and the store leaves it out until it is swept."
    return (
        f"The policy {', '.join(letting)} lets it be read."
        if visible
        else "Something else than policies hides it."
    )


def _whose(item: Mapping[str, Any], organisations: Sequence[str]) -> str:
    if item["user_id"]:
        return f"it belongs to the user {item['user_id']}"
    if item["org_id"]:
        return f"it belongs to the organisation {item['org_id']}, and theirs are {', '.join(organisations) or 'none'}"
    return "its namespace begins with none of users, orgs and agents, so that it is the service's alone"
