"""Which namespace here is which one of another store's: the same, unless the first labels are renamed."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from graphs.memory.errors import InvalidValue
from graphs.memory.values.namespaces import Namespace

_VARIABLE = re.compile(r"\{(\w+)\}")

OWNERS = ("users", "orgs", "agents")
"""First labels that say whose a namespace is; the second one says who."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How a namespace begins, and how it begins here; a label in braces stands for any one label."""

    before: tuple[str, ...]
    after: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "Rule":
        """Read a rule such as `memories.{user}=users.{user}.memories`.

        Raises:
            InvalidValue: it is none, or two namespaces would become the same one.
        """
        before, is_rule, after = text.partition("=")
        rule = cls(tuple(before.split(".")), tuple(after.split(".")))
        if not is_rule or not all((*rule.before, *rule.after)):
            raise InvalidValue(
                "map",
                f"is no rule; write it as memories.{{user}}=users.{{user}}.memories. Got {text!r}.",
            )
        known, used = _variables(rule.before), _variables(rule.after)
        if len(known) != len(set(known)) or set(known) != set(used):
            raise InvalidValue(
                "map",
                f"must have the same labels in braces on both sides, each once; got {text!r}.",
            )
        return rule

    def apply(self, namespace: Namespace) -> Namespace | None:
        """Return what a namespace is called here; None if it begins otherwise."""
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
        """Return a regular expression for the namespaces there that lie in a scope here; None if none does."""
        found: dict[str, str] = {}
        for label, pattern in zip(scope, self.after, strict=False):
            if variable := _VARIABLE.fullmatch(pattern):
                found[variable[1]] = label
            elif label != pattern:
                return None
        begun = [_pattern(label, found) for label in self.before]
        return r"\.".join((*begun, *map(re.escape, scope[len(self.after) :])))


def _pattern(label: str, found: dict[str, str]) -> str:
    """A regular expression for a label of a rule, whose variables may be known."""
    variable = _VARIABLE.fullmatch(label)
    known = found.get(variable[1]) if variable else label
    return "[^.]+" if known is None else re.escape(known)


def _variables(labels: Sequence[str]) -> list[str]:
    return [found[1] for label in labels if (found := _VARIABLE.fullmatch(label))]


@dataclass(frozen=True, slots=True)
class Renaming:
    """Rules, of which the first that fits counts."""

    rules: tuple[Rule, ...] = ()

    def apply(self, namespace: Namespace) -> Namespace:
        """Return what a namespace is called here.

        Raises:
            InvalidValue: it belongs to nobody here, and no rule says where it goes.
        """
        for rule in self.rules:
            if (renamed := rule.apply(namespace)) is not None:
                return renamed
        if len(namespace) < 2 or namespace[0] not in OWNERS:
            raise InvalidValue(
                "namespace",
                f"{namespace} would be nobody's: it does not begin with users, orgs or agents and whose it is. Say "
                "what it becomes, as in --map 'memories.{user}=users.{user}.memories', or keep it for the service "
                "alone with --map '{any}={any}'.",
            )
        return namespace

    def pattern(self, scope: Namespace) -> str:
        """Return a regular expression for the namespaces there that lie in a scope here."""
        patterns = [pattern for rule in self.rules if (pattern := rule.pattern(scope))]
        either = "|".join([*patterns, r"\.".join(map(re.escape, scope))])
        return rf"^({either})(\.|$)"
