"""Rules that map the namespaces of another store to namespaces here."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from graphs.memory.errors import InvalidValue
from graphs.memory.values.namespaces import Namespace

_VARIABLE = re.compile(r"\{(\w+)\}")

OWNERS = ("users", "orgs", "agents")
"""First labels that name a kind of owner; the second label is the owner's id."""


@dataclass(frozen=True, slots=True)
class Rule:
    """The beginning of a namespace there and here. A label in braces stands for any label."""

    before: tuple[str, ...]
    after: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "Rule":
        """Parse a rule such as `memories.{user}=users.{user}.memories`.

        Raises:
            InvalidValue: it is not a rule, or it would map two namespaces to the same one.
        """
        before, is_rule, after = text.partition("=")
        rule = cls(tuple(before.split(".")), tuple(after.split(".")))
        if not is_rule or not all((*rule.before, *rule.after)):
            raise InvalidValue(
                "map",
                "is not a rule; write it as memories.{user}=users.{user}.memories. "
                f"Got {text!r}.",
            )
        known, used = _variables(rule.before), _variables(rule.after)
        if len(known) != len(set(known)) or set(known) != set(used):
            raise InvalidValue(
                "map",
                f"must have the same labels in braces on both sides, each once; got {text!r}.",
            )
        return rule

    def apply(self, namespace: Namespace) -> Namespace | None:
        """Return the namespace here; None if the rule does not match."""
        if len(namespace) < len(self.before):
            return None
        found: dict[str, str] = {}
        for label, pattern in zip(namespace, self.before, strict=False):
            if variable := _VARIABLE.fullmatch(pattern):
                found[variable[1]] = label
            elif label != pattern:
                return None
        begun = (_VARIABLE.sub(lambda variable: found[variable[1]], label) for label in self.after)
        return (*begun, *namespace[len(self.before) :])

    def pattern(self, scope: Namespace) -> str | None:
        """Return a regular expression for the source namespaces in a scope here; None if none."""
        found: dict[str, str] = {}
        for label, pattern in zip(scope, self.after, strict=False):
            if variable := _VARIABLE.fullmatch(pattern):
                found[variable[1]] = label
            elif label != pattern:
                return None
        begun = [_pattern(label, found) for label in self.before]
        return r"\.".join((*begun, *map(re.escape, scope[len(self.after) :])))


def _pattern(label: str, found: dict[str, str]) -> str:
    """Return a regular expression for one label of a rule; a variable may have a known value."""
    variable = _VARIABLE.fullmatch(label)
    known = found.get(variable[1]) if variable else label
    return "[^.]+" if known is None else re.escape(known)


def _variables(labels: Sequence[str]) -> list[str]:
    return [found[1] for label in labels if (found := _VARIABLE.fullmatch(label))]


@dataclass(frozen=True, slots=True)
class Renaming:
    """A list of rules. The first one that matches applies."""

    rules: tuple[Rule, ...] = ()

    def apply(self, namespace: Namespace) -> Namespace:
        """Return the namespace here.

        Raises:
            InvalidValue: the namespace has no owner here, and no rule matches it.
        """
        for rule in self.rules:
            if (renamed := rule.apply(namespace)) is not None:
                return renamed
        if len(namespace) < 2 or namespace[0] not in OWNERS:
            raise InvalidValue(
                "namespace",
                f"{namespace} would have no owner: it does not begin with users, orgs or agents "
                "and an owner's id. Map it, as in "
                "--map 'memories.{user}=users.{user}.memories', or keep it for the service alone "
                "with --map '{any}={any}'.",
            )
        return namespace

    def pattern(self, scope: Namespace) -> str:
        """Return a regular expression for the source namespaces that lie in a scope here."""
        patterns = [pattern for rule in self.rules if (pattern := rule.pattern(scope))]
        either = "|".join([*patterns, r"\.".join(map(re.escape, scope))])
        return rf"^({either})(\.|$)"
