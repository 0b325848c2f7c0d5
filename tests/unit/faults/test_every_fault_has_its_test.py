"""The faults found in other runtimes and in papyra 0.3.0, and where each is a test.

A test moved or renamed has to be moved here too.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]

FOUND_ELSEWHERE = {
    "1 a constructor or hook that raises leaves nothing behind": [
        "faults/test_endings.py::test_line_1_a_hook_that_raises_leaves_nothing_of_its_actor",
        "runtime/test_lifecycle.py::test_a_constructor_that_raises_tells_the_caller_and_leaves_nothing",
        "runtime/test_watch.py::test_a_start_that_fails_tells_watchers_frees_the_name_and_makes_letters",
        (
            "faults/test_restarting.py::"
            "test_line_1_a_crash_of_the_parent_while_it_decides_leaves_its_child_to_the_policy"
        ),
    ],
    "2 a stop with a slow child spins nowhere, and what comes meanwhile is a letter": [
        "runtime/test_lifecycle.py::test_a_stop_with_a_slow_child_and_queued_messages_spins_nowhere",
        "faults/test_endings.py::test_line_2_what_is_told_to_an_actor_on_its_way_out_is_a_letter",
        "faults/test_endings.py::test_line_2_what_an_actor_tells_itself_while_it_stops_is_a_letter",
    ],
    "3 a restart keeps order and does not run the failing message again": [
        "faults/test_restarting.py::test_line_3_five_hundred_crashes_between_messages_lose_and_reorder_none",
        "faults/test_restarting.py::test_line_3_senders_that_wait_for_room_keep_their_place_over_a_restart",
        "runtime/test_supervision.py::test_the_failing_message_is_a_letter_and_is_not_run_again",
        "runtime/test_r2_order.py::test_r2_order_survives_restarts",
        "faults/test_full_mailboxes.py::test_line_3_a_restart_returns_the_stash_to_the_front",
        "faults/test_full_mailboxes.py::test_line_3_a_stash_at_the_end_is_letters_in_order",
    ],
    "4 the restart budget is the child's own and slides, and its end comes once": [
        "faults/test_restarting.py::test_line_4_the_budget_is_each_childs_own_and_its_window_slides",
        (
            "faults/test_restarting.py::"
            "test_line_4_a_limit_that_is_reached_stops_the_child_once_and_the_parent_goes_on"
        ),
        "faults/test_restarting.py::test_line_4_a_child_that_escalates_twice_fails_its_parent_once_for_each",
        "runtime/test_decisions.py::test_no_window_ever_holds_more_restarts_than_the_limit",
        "faults/test_supervising.py::test_line_4_an_exhausted_budget_escalates_exactly_once",
    ],
    "5 every restart and stop leaves a log line and its cause on record": [
        "faults/test_restarting.py::test_line_5_what_a_failure_led_to_is_logged_and_on_record_with_its_cause",
        "runtime/test_r3_stop_reasons.py::test_r3_what_led_to_a_restart_is_logged_with_its_traceback",
    ],
    "6 an overflow never fails the sender, and a suspended mailbox keeps its bound": [
        (
            "runtime/test_r4_containment.py::"
            "test_r4_a_slow_or_dead_receiver_hurts_no_actor_that_plainly_tells_it"
        ),
        "faults/test_restarting.py::test_line_6_a_mailbox_keeps_its_bound_while_its_actor_restarts",
        "faults/test_full_mailboxes.py::test_line_6_drop_oldest_never_hurts_the_sender_and_keeps_the_newest",
    ],
    "7 an asker always hears, once, and harms nobody": [
        "faults/test_asking.py::test_line_7_an_asker_that_is_cancelled_harms_nobody_in_any_phase",
        "faults/test_asking.py::test_line_7_an_asker_hears_of_the_end_whatever_phase_it_was_in",
        "faults/test_asking.py::test_line_7_a_reply_and_its_timeout_in_one_turn_make_one_outcome",
        (
            "faults/test_asking.py::"
            "test_line_7_a_reply_that_comes_as_the_asker_is_cancelled_is_a_letter_or_a_reply"
        ),
        "faults/test_asking.py::test_line_7_an_asker_that_stops_while_it_waits_leaves_the_asked_alone",
        "faults/test_asking.py::test_line_7_a_thousand_askers_of_a_dying_actor_all_hear_once",
        "runtime/test_ask.py::test_a_late_reply_is_a_letter_and_the_message_was_handled",
        "runtime/test_ask.py::test_queued_asks_fail_at_once_when_the_actor_is_asked_to_stop",
        "runtime/test_ask.py::test_a_message_that_stops_the_actor_is_answered",
    ],
    "8 stopping or asking oneself never deadlocks, a stop may come twice or during a restart": [
        "runtime/test_lifecycle.py::test_on_start_may_end_it",
        "runtime/test_lifecycle.py::test_a_stop_during_a_restart_wins",
        "faults/test_asking.py::test_line_8_an_actor_cannot_ask_itself_by_any_way_without_hearing_so",
        "faults/test_endings.py::test_line_8_stopping_from_everywhere_at_once_stops_once",
        "faults/test_endings.py::test_line_8_no_stop_from_inside_waits_for_itself",
        "faults/test_endings.py::test_line_8_an_actor_that_stops_is_not_resurrected_by_a_failing_end",
    ],
    "9 a shutdown has one deadline": [
        "runtime/test_r6_shutdown.py::test_r6_what_is_stuck_is_cancelled_at_the_deadline",
        "runtime/test_r6_shutdown.py::test_r6_the_deadline_holds_for_the_store_too",
        "runtime/test_r6_shutdown.py::test_r6_messages_queued_at_the_end_are_letters_shutdown",
        "runtime/test_serving.py::test_r6_the_second_signal_does_not_wait",
    ],
    "10 a storm of a million letters is bounded, a letter about a letter is dropped": [
        (
            "faults/test_letters.py::"
            "test_line_10_a_storm_of_a_million_letters_is_bounded_in_memory_and_rows_and_exact"
        ),
        "faults/test_letters.py::test_line_10_a_letter_about_a_letter_is_counted_and_breeds_no_more",
        "faults/test_letters.py::test_line_10_a_letter_to_a_dead_actor_in_the_name_of_another_is_one_letter",
        "runtime/test_r5_memory.py::test_r5_letters_in_memory_are_capped_and_their_counts_exact",
    ],
    "14 a letter is sent again as a new message, linked, without a loop": [
        "faults/test_redelivering.py::test_line_14_a_stale_letter_is_sent_as_it_was_and_never_twice_for_one_call",
        (
            "faults/test_redelivering.py::"
            "test_line_14_a_letter_that_fails_again_is_a_new_letter_that_names_it_and_there_is_no_loop"
        ),
        "faults/test_redelivering.py::test_line_14_what_does_not_run_is_refused_and_makes_no_letter",
    ],
    "15 cancellations are told apart, and the end of the process goes on": [
        "runtime/test_cancellation.py::test_a_handlers_own_timeout_is_a_failure_and_no_cancellation",
        "runtime/test_cancellation.py::test_a_task_group_in_a_handler_works",
        (
            "runtime/test_cancellation.py::"
            "test_a_cancelled_actor_task_ends_cancelled_and_its_actor_is_accounted_for"
        ),
        "runtime/test_cancellation.py::test_the_end_of_the_process_goes_on_through_an_actor",
        "runtime/test_cancellation.py::test_other_base_exceptions_are_failures_like_any_other",
    ],
    "16 tasks are strongly held": [
        "runtime/test_r5_memory.py::test_r5_tasks_are_strongly_held",
        "faults/test_timing.py::test_line_16_pipes_are_strongly_held",
        "faults/test_restarting.py::test_line_16_collections_during_traffic_and_restarts_lose_nothing",
    ],
    "17 a wall clock that is set back reorders nothing": [
        "faults/test_letters.py::test_line_17_the_wall_clock_may_jump_and_the_order_of_the_history_stays",
        "recorder/test_emit.py::test_a_clock_that_is_set_back_is_clamped_and_told_once",
    ],
    "19 and 20 the accounting balances and the history folds into the live tree under faults": [
        "faults/test_accounting_machine.py::TestTree",
        "runtime/test_r1_under_faults.py::TestChaos",
        "history/test_live_system.py::test_folding_the_stored_history_reproduces_the_live_tree_at_every_step",
    ],
}

PUBLISHED = "runtime/test_published_faults.py::test_"
FOUND_IN_THE_PUBLISHED = {
    "a1": [f"{PUBLISHED}a1_an_ask_timeout_leaves_the_target_alone"],
    "a2": [f"{PUBLISHED}a2_a_cancelled_asker_leaves_the_target_alone"],
    "a3": [
        f"{PUBLISHED}a3_a_write_error_reaches_no_actor",
        "faults/test_stores.py::test_a3_a_path_that_is_no_file_refuses_the_start_and_kills_nothing",
        "faults/test_stores.py::test_a3_a_disk_that_fails_stops_no_actor",
        "faults/test_stores.py::test_a3_a_disk_that_has_room_again_gets_everything",
        "faults/test_stores.py::test_a3_any_error_of_an_append_is_the_recorders_alone",
        "faults/test_stores.py::test_a3_poison_costs_its_record_and_is_noted",
    ],
    "a4": [
        f"{PUBLISHED}a4_a_payload_stops_nobody_on_disk_either",
        "runtime/test_r4_containment.py::test_r4_an_exception_that_will_not_print_is_a_failure_like_any_other",
    ],
    "a5": [f"{PUBLISHED}a5_a_factory_that_raises_at_a_restart_ends_one_actor"],
    "a6": [
        f"{PUBLISHED}a6_a_chain_of_parents_stops_at_any_depth",
        f"{PUBLISHED}a6_a_start_that_always_fails_neither_recurses_nor_starves",
    ],
    "a7": [f"{PUBLISHED}a7_queued_asks_end_when_the_actor_stops"],
    "a8": [f"{PUBLISHED}a8_no_accepted_tell_vanishes"],
    "a9": [
        f"{PUBLISHED}a9_the_ask_timeout_covers_a_full_mailbox",
        "faults/test_asking.py::test_a9_the_deadline_holds_wherever_the_ask_waits",
    ],
    "a11": [f"{PUBLISHED}a11_the_events_and_letters_of_a_shutdown_are_stored"],
    "a14": [
        f"{PUBLISHED}a14_a_proxy_is_no_hole",
        "runtime/test_proxy.py::test_a_proxy_has_a_timeout",
        "runtime/test_proxy.py::test_what_may_not_be_reached_is_the_callers_error_only",
    ],
    "a15": [f"{PUBLISHED}a15_memory_comes_back_after_churn"],
    "b1": [f"{PUBLISHED}b1_the_real_error_of_a_start_is_told_and_no_start_is_claimed"],
    "b2": [
        f"{PUBLISHED}b2_no_decision_leaves_orphans",
        "runtime/test_supervision.py::test_the_children_of_an_actor_that_stops_for_a_failure_stop_first",
    ],
    "b3": [
        f"{PUBLISHED}b3_a_watcher_is_told_once_whenever_it_began",
        "runtime/test_watch.py::test_the_notice_comes_after_on_stop_has_ended",
    ],
    "b4": ["runtime/test_cancellation.py::test_the_end_of_the_process_goes_on_through_an_actor"],
    "b5": [f"{PUBLISHED}b5_a_shutdown_ends_whatever_is_stuck"],
    "b6": [f"{PUBLISHED}b6_no_capacity_is_no_bound"],
    "b7": [
        f"{PUBLISHED}b7_a_dead_parent_gets_no_child_and_nonsense_is_refused",
        "faults/test_endings.py::test_b7_a_child_that_is_spawned_while_its_parent_ends_never_outlives_it",
    ],
    "b8": [f"{PUBLISHED}b8_a_broadcast_waits_for_nobody_before_all_are_told"],
    "b9": [f"{PUBLISHED}b9_what_on_stop_or_a_hook_raises_is_seen"],
    "b10": [f"{PUBLISHED}b10_a_name_is_free_at_once"],
    "c1": [f"{PUBLISHED}c1_ignore_lets_the_child_go_on"],
    "c2": [f"{PUBLISHED}c2_reasons_say_something"],
    "c3": ["runtime/test_references.py::test_references_are_equal_and_hash_alike_across_restarts"],
}


def names_in(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names.update(target.id for target in node.targets if isinstance(target, ast.Name))
    return names


@pytest.mark.parametrize(
    ("fault", "tests"),
    [*FOUND_ELSEWHERE.items(), *FOUND_IN_THE_PUBLISHED.items()],
    ids=lambda value: str(value)[:30],
)
def test_every_known_fault_has_its_tests(fault: str, tests: list[str]) -> None:
    assert tests, fault
    for test in tests:
        file, _, name = test.partition("::")
        assert name in names_in(TESTS / file), test
