"""The contract of `graphs.testing`, checked on three stores.

Known failures of the other two stores are listed here, and the list must stay true: if a new
version passes a check, that is an error until its line is removed. `MemoryManager` passes all.
"""

import pytest

from graphs.testing import conformance
from graphs.testing.conformance import Check, OpenStore
from tests.contract.conftest import STORES

NO_MORE_OPERATORS = "knows the six operators of BaseStore only"
BARE_ERRORS = "its errors do not say where"

BY_CHANCE = {
    "paging.pages_are_complete_after_a_batch",
    "paging.the_order_of_pages_is_stable",
    "concurrency.crossing_batches_do_not_deadlock",
    "recall.a_large_scope_is_searched_to_its_end",
    "recall.semantic_pages_are_complete",
    "recall.equal_scores_are_paged_completely",
}
"""Checks that do not fail every time: they depend on the planner, or on timing."""

NOT_KEPT: dict[str, dict[str, str]] = {
    "InMemoryStore": {
        "put_and_get.an_update_keeps_the_time_of_creation": "an update is a new item",
        "put_and_get.what_was_read_is_a_copy": "it hands out what it stores",
        "filters.comparisons_keep_to_their_type": (
            "compares whatever float() takes, and fails for the rest"
        ),
        "filters.an_unknown_operator_is_refused": (
            "looks at operators only as far as an item matches"
        ),
        "namespaces.a_namespace_is_listed_while_it_holds_something": (
            "a namespace stays once it was named"
        ),
        "namespaces.a_batch_does_not_reach_another_namespace": "checks no namespaces in a batch",
        "batches.like_items_in_a_batch_are_each_indexed": "miscounts the vectors of like texts",
        "recall.a_vector_that_is_no_number_never_ranks_first": "NaN sorts first",
        "recall.a_query_without_direction_is_no_error": "divides by zero",
        "recall.an_update_drops_every_vector_of_the_old_value": "vectors of an update are added",
        "recall.an_update_without_index_drops_the_vectors": "vectors of an update are added",
        "extensions.in_and_nin": NO_MORE_OPERATORS,
        "extensions.exists": NO_MORE_OPERATORS,
        "extensions.contains": NO_MORE_OPERATORS,
        "extensions.conditions_can_be_combined": NO_MORE_OPERATORS,
        "extensions.a_refused_filter_names_its_operator": BARE_ERRORS,
        "extensions.a_refused_value_names_its_place": BARE_ERRORS,
    },
    "AsyncPostgresStore": {
        "put_and_get.a_value_comes_back_exactly_or_is_refused": "1e300 comes back as an integer",
        "filters.numbers_compare_as_numbers": "compares digits as text",
        "filters.comparisons_keep_to_their_type": "compares everything as text",
        "filters.nested_fields_can_be_filtered": "takes a nested field for an operator",
        "filters.not_equal_matches_a_missing_field": "a missing field is unequal to nothing",
        "filters.an_unknown_operator_is_refused": "names another word of the filter",
        "paging.pages_are_complete_after_a_batch": "items of one time have no order",
        "paging.the_order_of_pages_is_stable": "items of one time have no order",
        "batches.a_batch_may_be_large": "takes 65,535 parameters at most",
        "ttl.reading_prolongs_a_life": "refreshes by whole minutes",
        "concurrency.a_bad_value_fails_alone": "calls of one tick share a batch",
        "concurrency.a_bad_search_fails_alone": "calls of one tick share a batch",
        "concurrency.crossing_batches_do_not_deadlock": "locks in the order given",
        "concurrency.several_threads_and_event_loops_at_once": "is bound to its event loop",
        "recall.a_large_scope_is_searched_to_its_end": "its index gives up after 40 vectors",
        "recall.semantic_pages_are_complete": "looks at a few of the nearest vectors only",
        "recall.equal_scores_are_paged_completely": "looks at a few of the nearest vectors only",
        "recall.limit_counts_items": "limits vectors before it counts items",
        "recall.a_zero_vector_never_ranks_first": "its score is NaN, which sorts first",
        "recall.a_query_without_direction_is_no_error": "its scores are NaN",
        "recall.an_update_drops_every_vector_of_the_old_value": "vectors of an update are added",
        "recall.an_update_without_index_drops_the_vectors": "vectors of an update are added",
        "extensions.in_and_nin": NO_MORE_OPERATORS,
        "extensions.exists": NO_MORE_OPERATORS,
        "extensions.contains": NO_MORE_OPERATORS,
        "extensions.conditions_can_be_combined": NO_MORE_OPERATORS,
        "extensions.a_refused_filter_names_its_operator": BARE_ERRORS,
        "extensions.a_refused_value_names_its_place": BARE_ERRORS,
    },
    "MemoryManager": {},
}


def _params() -> list[object]:
    params: list[object] = []
    for check in conformance.checks():
        for name in STORES:
            reason = NOT_KEPT[name].get(str(check))
            marks = (
                [pytest.mark.xfail(reason=reason, strict=str(check) not in BY_CHANCE)]
                if reason
                else []
            )
            params.append(pytest.param(name, check, id=f"{check}-{name}", marks=marks))
    return params


# Warnings from resources that the other stores leave open where they fail are not ours.
@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::RuntimeWarning"
)
@pytest.mark.parametrize(("store_name", "check"), _params())
async def test_promise(store_name: str, check: Check, open_store: OpenStore) -> None:
    await check(open_store)


def test_every_known_exception_is_about_a_check() -> None:
    known = {name for exceptions in NOT_KEPT.values() for name in exceptions}
    assert known <= {str(check) for check in conformance.checks()}
