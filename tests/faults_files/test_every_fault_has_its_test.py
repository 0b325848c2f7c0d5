"""The faults that a store of files has to survive, and where each is a test.

Three lists: those of the fault model, those that other stores met, and those of the files of papyra 0.3.0. A
test moved or renamed has to be moved here too.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

HERE = "tests/faults_files"
FILES = "tests/unit/files"
CRASHING = "papyra/testing/promises/crashing.py"
DAMAGING = "papyra/testing/promises/damaging.py"
SHARING = "papyra/testing/promises/sharing.py"
STRACE = f"{HERE}/test_strace_crashes.py"
MEDIA = f"{HERE}/test_media.py"
PROCESSES = f"{HERE}/test_processes.py"
TIMES = f"{HERE}/test_times.py"
PUBLISHED = f"{HERE}/test_published.py"
KILLED = f"{STRACE}::test_f5_killed_in_any_call_that_touches_the_store_nothing_acknowledged_is_lost"
MACHINE = f"{HERE}/test_store_machine.py::TestJsonMachine"
SEGMENTS_MACHINE = f"{HERE}/test_store_machine.py::TestSegmentsMachine"
SHARED_MACHINE = f"{HERE}/test_store_machine.py::TestSharedMachine"
SEGMENTS = f"{HERE}/test_met_by_segments.py"
SET_GUARDS = f"{HERE}/test_set_guards.py"
SET_CRASH = f"{FILES}/test_set_crash.py"
SET_DAMAGE = f"{FILES}/test_set_damage.py"
SET_PROCESSES = f"{FILES}/test_set_processes.py"
ERRORS = (
    f"{HERE}/test_strace_errors.py::"
    "test_f8_whichever_call_fails_the_caller_hears_of_it_and_nothing_acknowledged_is_lost"
)
KILL_LOOP = (
    "tests/system/test_kill_files.py::test_i1_i5_i6_killed_at_any_moment_an_acknowledged_record_is_there"
)
LOCK_DELETED = f"{PROCESSES}::test_f11_a_lock_file_that_was_deleted_costs_no_record_of_either_writer"

FAULT_MODEL = {
    "F1 a write torn at every byte": [
        f"{FILES}/test_damage.py::test_i1_torn_at_any_byte_the_next_record_is_read_and_the_fragment_is_kept",
        f"{FILES}/test_damage.py::test_i6_torn_at_any_byte_of_the_file_a_repair_is_clean_and_loses_no_whole_record",
        f"{DAMAGING}::test_i1_i5_torn_at_any_byte_the_rest_is_whole_and_so_is_what_follows",
        f"{MEDIA}::test_f1_a_header_torn_at_any_byte_costs_no_record",
        f"{MEDIA}::test_f1_the_last_batch_torn_at_any_byte_leaves_its_whole_lines",
        f"{MEDIA}::test_f1_i4_a_quarantine_torn_at_any_byte_takes_everything_again",
        f"{MEDIA}::test_f1_a_lock_note_torn_at_any_byte_locks_nobody_out",
        f"{MEDIA}::test_f1_behind_a_torn_lock_note_a_doubt_is_read",
        f"{SET_DAMAGE}::test_f1_a_last_segment_torn_at_any_byte_costs_at_most_one_record",
        f"{SET_DAMAGE}::test_f1_a_footer_torn_at_any_byte_is_a_crash_trace_and_costs_nothing",
    ],
    "F2 flipped bits, bursts, blocks that are not their own": [
        f"{FILES}/test_damage.py::test_i2_i3_i7_any_flipped_bit_is_named_and_costs_at_most_its_own_record",
        "tests/unit/core/test_codec_damage.py::test_i2_every_flipped_bit_is_seen",
        f"{DAMAGING}::test_i7_an_overwritten_range_costs_at_most_the_records_it_touches",
        f"{MEDIA}::test_f2_a_block_that_is_not_its_own_costs_the_records_it_touches",
        f"{SET_DAMAGE}::test_other_bytes_than_were_sealed_are_told_though_every_line_is_sound",
        f"{FILES}/test_set_identity.py::test_i7_any_bit_flipped_in_the_only_header_costs_no_store_its_unity",
    ],
    "F3 zeros, garbage, editors, half letters, endless lines, deep nesting, NaN": [
        f"{DAMAGING}::test_a_tail_that_is_no_record_costs_none",
        f"{DAMAGING}::test_what_an_editor_does_to_lines_costs_none",
        f"{DAMAGING}::test_i7_a_line_that_is_no_record_costs_no_other",
        f"{FILES}/test_reading.py::test_a_long_line_without_end_is_read_in_bounded_memory_and_its_records_are_found",
        f"{FILES}/test_trials.py::test_i3_a_scan_names_each_anomaly_and_nothing_else",
    ],
    "F4 lines and files that are gone, doubled, moved, or something else": [
        f"{DAMAGING}::test_lines_that_went_missing_are_told",
        f"{DAMAGING}::test_lines_that_stand_twice_are_read_once_and_told",
        f"{FILES}/test_trials.py::test_out_of_order_records_are_read_as_they_stand_and_put_in_order_by_a_repair",
        f"{FILES}/test_faults.py::test_a_folder_or_a_pipe_in_place_of_a_file_is_told",
        f"{MEDIA}::test_f4_a_file_taken_away_under_its_writer_costs_nothing_that_comes_after",
        f"{MEDIA}::test_f4_a_link_in_place_of_the_file_is_followed_and_stays_a_link",
        f"{MEDIA}::test_f4_something_else_in_the_place_of_a_sidecar_is_told_and_costs_nothing",
        f"{MEDIA}::test_f4_what_is_not_ours_in_the_folder_is_never_touched",
        f"{SET_DAMAGE}::test_f4_a_missing_segment_is_told_with_its_range_and_noted",
        f"{SET_DAMAGE}::test_f4_a_doubled_segment_is_told_read_once_and_set_aside",
        f"{SET_DAMAGE}::test_f4_a_renamed_segment_gets_its_name_back",
        f"{SET_DAMAGE}::test_f4_a_segment_cut_to_nothing_is_told_and_stands_in_for_itself",
        f"{SET_DAMAGE}::test_f4_a_segment_of_another_store_is_refused_and_left_alone",
        f"{SET_DAMAGE}::test_f4_what_is_no_segment_is_told_and_never_touched",
    ],
    "F5 the end of the process between any two calls": [
        KILLED,
        f"{CRASHING}::test_i1_i5_ended_in_any_call_of_an_append_the_acknowledged_is_there",
        f"{CRASHING}::test_i4_i6_ended_in_any_call_a_recovery_loses_no_byte_and_is_done_again",
        f"{CRASHING}::test_i10_ended_in_any_call_a_compaction_leaves_all_or_what_is_to_stay",
        f"{HERE}/test_guards.py::test_i4_ended_in_any_call_the_leftover_of_a_rewrite_is_moved_and_never_lost",
        (f"{SET_CRASH}::test_i1_i5_ended_in_any_call_of_appending_and_rotating_the_acknowledged_is_there"),
        f"{SET_CRASH}::test_i7_ended_in_any_call_of_dropping_old_segments_a_prefix_is_gone_and_no_more",
        f"{SET_CRASH}::test_i4_i6_ended_in_any_call_a_recovery_loses_no_byte_and_is_done_again",
        f"{SET_CRASH}::test_i7_i10_ended_in_any_call_a_compaction_takes_a_prefix_and_no_more",
        f"{SET_CRASH}::test_one_of_several_writers_that_ends_in_any_call_leaves_what_it_acknowledged",
    ],
    "F6 power loss: everything that was not synced gone, torn, zeroed or reordered": [
        f"{CRASHING}::test_i1_i5_ended_in_any_call_of_an_append_the_acknowledged_is_there",
        f"{CRASHING}::test_i4_i6_ended_in_any_call_a_recovery_loses_no_byte_and_is_done_again",
        f"{HERE}/test_door.py::test_i1_the_medium_has_it_before_an_append_returns",
        f"{SET_GUARDS}::test_i1_the_first_record_of_a_new_folder_outlives_a_loss_of_power",
        f"{SET_GUARDS}::test_i1_what_was_sealed_and_closed_outlives_a_loss_of_power",
        *(MACHINE, SEGMENTS_MACHINE, SHARED_MACHINE),
    ],
    "F7 a full disk": [
        f"{CRASHING}::test_i8_a_full_disk_is_told_takes_nothing_and_works_again_once_there_is_room",
        f"{FILES}/test_faults.py::test_i4_a_full_disk_refuses_a_recovery_and_loses_no_byte",
        f"{PROCESSES}::test_f7_trial_4_a_full_disk_at_the_start_refuses_the_repair_and_works_once_there_is_room",
        f"{PROCESSES}::test_f7_trial_5_a_limit_that_tears_a_batch_costs_only_what_was_refused",
        f"{SET_CRASH}::test_f7_a_disk_that_fills_at_any_byte_takes_part_of_a_batch_and_works_again",
        f"{SET_GUARDS}::test_a_store_that_found_no_room_to_begin_begins_as_one_store_of_one_writer",
    ],
    "F8 any call fails": [
        ERRORS,
        f"{HERE}/test_strace_errors.py::test_f8_a_call_that_is_interrupted_is_made_again",
        f"{CRASHING}::test_i1_whichever_call_fails_the_acknowledged_is_there",
        f"{CRASHING}::test_i1_syncs_that_failed_acknowledge_nothing_that_a_power_loss_may_take",
        f"{CRASHING}::test_a_medium_that_cannot_be_read_is_told_and_not_repaired",
        (f"{SET_CRASH}::test_i1_i8_whichever_call_fails_the_acknowledged_is_there_and_nothing_is_damaged"),
        (
            f"{SET_CRASH}::"
            "test_i1_a_sync_that_fails_once_costs_nothing_and_one_that_goes_on_failing_ends_the_writer"
        ),
    ],
    "F9 a sync that takes long, or may not be believed": [
        f"{TIMES}::test_f9_a_sync_that_takes_long_holds_up_its_callers_and_nothing_else",
        f"{SEGMENTS}::test_f9_a_sync_of_a_segment_that_takes_long_holds_up_its_callers_and_nothing_else",
        f"{FILES}/test_synced_writes.py::test_i1_no_other_file_system_is_believed",
        "tests/unit/core/test_threads.py::test_a_full_queue_makes_callers_wait_and_drops_nothing",
    ],
    "F10 killed at random, against an acknowledgement log, with each policy": [
        KILL_LOOP,
        f"{FILES}/test_processes.py::test_i1_i5_killed_again_and_again_a_writer_loses_nothing_it_acknowledged",
    ],
    "F11 several processes": [
        f"{PROCESSES}::test_f11_of_writers_that_begin_at_once_one_writes_and_the_others_are_told",
        f"{PROCESSES}::test_f11_the_lock_of_a_holder_that_was_killed_is_free_at_once",
        LOCK_DELETED,
        f"{PROCESSES}::test_f11_trial_20_eight_children_of_a_fork_are_refused_and_the_parent_goes_on",
        f"{FILES}/test_processes.py::test_after_a_fork_the_child_is_told_to_open_anew_and_the_parent_keeps_the_lock",
        (
            f"{SET_PROCESSES}::"
            "test_i1_four_processes_share_a_folder_and_killed_ones_leave_what_they_acknowledged"
        ),
        f"{SET_PROCESSES}::test_f11_after_its_lock_was_deleted_a_writer_gives_way_until_the_other_has_gone",
        f"{SET_PROCESSES}::test_one_writer_at_a_time_where_it_is_not_shared",
        f"{SET_PROCESSES}::test_a_forked_child_is_told_to_open_anew_and_takes_nothing_along",
    ],
    "F12 clocks": [
        f"{TIMES}::test_f12_a_clock_that_jumps_reorders_and_loses_nothing",
        f"{SEGMENTS}::test_f12_a_clock_that_jumps_costs_segments_nothing",
        f"{TIMES}::test_f12_a_record_of_the_future_stops_no_retention_of_those_before_it",
        f"{TIMES}::test_f12_a_clock_set_back_gives_no_identity_twice",
        f"{TIMES}::test_f12_processes_whose_clocks_disagree_by_years_share_a_store",
    ],
    "F13 nothing left: files, threads, memory, time": [
        f"{PROCESSES}::test_f13_without_a_file_descriptor_left_the_caller_is_told_and_it_works_again",
        f"{PROCESSES}::test_f13_no_memory_for_a_record_is_its_callers_error_and_the_store_goes_on",
        f"{PROCESSES}::test_f13_signals_while_it_writes_cost_nothing",
        f"{PROCESSES}::test_f13_a_process_that_ends_with_a_full_queue_ends_and_loses_nothing_acknowledged",
        f"{PROCESSES}::test_f13_ctrl_c_in_the_middle_of_appends_loses_nothing_acknowledged",
        (
            "tests/unit/core/test_threads_ending.py::"
            "test_without_a_thread_to_start_the_caller_is_told_and_a_later_call_works"
        ),
        f"{SHARING}::test_a_cancelled_appender_costs_the_others_nothing",
        "papyra/testing/promises/appending.py::test_a_record_that_cannot_be_stored_takes_nothing_with_it",
    ],
    "F14 readers while it is written, compacted and repaired": [
        f"{TIMES}::test_f14_trial_32_a_reader_misses_no_record_while_the_file_is_written_anew",
        f"{TIMES}::test_f14_trial_21_a_scan_in_a_loop_beside_a_busy_writer_never_finds_anything",
        f"{SHARING}::test_a_reader_beside_writers_sees_each_ones_records_in_order",
        f"{FILES}/test_processes.py::test_i3_a_scan_beside_a_repair_gives_no_false_alarm_once_it_is_done",
        f"{SET_PROCESSES}::test_f14_scans_and_reads_beside_a_writer_that_rotates_and_drops_raise_no_alarm",
        f"{SET_PROCESSES}::test_pages_of_several_writers_are_complete_while_all_of_them_write",
    ],
    "F17 what other versions wrote": [
        f"{HERE}/test_golden.py::test_f17_every_record_of_a_golden_store_reads_as_it_was_meant",
        f"{HERE}/test_golden.py::test_f17_every_single_file_of_a_golden_store_is_clean_and_stays_as_it_is",
        f"{HERE}/test_golden.py::test_f17_what_is_written_today_is_to_the_byte_what_was_written_then",
        f"{HERE}/test_golden.py::test_f17_a_golden_set_of_rotated_files_is_read_whole",
        f"{DAMAGING}::test_a_newer_format_is_refused_and_left_alone",
    ],
    "F18 whatever comes after whatever": [MACHINE, SEGMENTS_MACHINE, SHARED_MACHINE],
    "F19 a guard that is taken out": [
        f"{HERE}/test_mutants.py::test_f19_every_guard_of_the_stores_is_found",
        f"{HERE}/test_mutants.py::test_f19_a_guard_of_each_kind_is_found_and_taken_out",
    ],
}

MET_BY_OTHERS = {
    "1 a torn tail, cut inside a letter, swallows the next append": [
        f"{HERE}/test_met_by_others.py::test_trial_1_a_letter_cut_in_two_swallows_no_append"
    ],
    "2 records behind a tear are lost at the next start": [
        f"{HERE}/test_met_by_others.py::test_trial_2_what_was_appended_behind_a_tear_survives_a_kill"
    ],
    "3 zeros at the end": [
        f"{HERE}/test_met_by_others.py::test_trial_3_zeros_at_the_end_cost_nothing",
        f"{SEGMENTS}::test_trial_3_zeros_at_the_end_of_a_segment_cost_nothing",
    ],
    "4 a full disk at the start": FAULT_MODEL["F7 a full disk"][2:3],
    "5 a fragment of a refused batch costs acknowledged ones": FAULT_MODEL["F7 a full disk"][3:],
    "7 old damage stops every compaction": [
        f"{HERE}/test_met_by_others.py::test_trial_7_old_damage_stops_no_compaction",
        f"{SEGMENTS}::test_trial_7_old_damage_stops_no_compaction_of_segments",
    ],
    "8 acknowledged before it was synced": [
        f"{HERE}/test_door.py::test_trial_8_between_the_write_of_a_record_and_its_acknowledgement_there_is_a_sync"
    ],
    "10 a folder that became read-only": [
        f"{HERE}/test_met_by_others.py::test_trial_10_a_folder_that_becomes_read_only_costs_nothing",
        f"{SEGMENTS}::test_trial_10_a_folder_of_segments_that_becomes_read_only_costs_nothing",
    ],
    "11 an error of reading taken for the end": [
        f"{HERE}/test_met_by_others.py::test_trial_11_an_error_of_any_read_is_never_taken_for_the_end",
        f"{SEGMENTS}::test_trial_11_an_error_of_any_read_of_a_segment_is_never_taken_for_the_end",
    ],
    "18 a write that is always short": [
        f"{HERE}/test_met_by_others.py::test_trial_18_a_write_that_is_always_short_comes_to_its_end",
        f"{SEGMENTS}::test_trial_18_segments_whose_every_write_is_short_come_to_their_ends",
    ],
    "20 a lock that a fork inherits": FAULT_MODEL["F11 several processes"][3:],
    "21 false alarms beside a writer, and damage that ends with exit code 0": [
        f"{TIMES}::test_f14_trial_21_a_scan_in_a_loop_beside_a_busy_writer_never_finds_anything",
        "tests/system/cli/test_damaged_stores.py::test_scan_recover_and_scan_again_as_a_shell_would",
    ],
    "23 a poisonous record fails its batch": [
        f"{HERE}/test_met_by_others.py::test_trial_23_poison_costs_its_batch_nothing",
        f"{SEGMENTS}::test_trial_23_poison_costs_its_batch_nothing_in_segments",
    ],
    "29 a network file system": FAULT_MODEL["F9 a sync that takes long, or may not be believed"][1:2],
    "30 power loss over append, compaction and repair": [MACHINE, SEGMENTS_MACHINE, SHARED_MACHINE],
    "32 retention takes away what is being read": [
        f"{TIMES}::test_f14_trial_32_a_reader_misses_no_record_while_the_file_is_written_anew",
        (
            f"{FILES}/test_set_retention.py::"
            "test_f14_whenever_retention_takes_a_segment_nobody_who_looks_or_shares_stumbles"
        ),
    ],
}

FOUND_IN_THE_PUBLISHED = {
    "P1": [f"{PUBLISHED}::test_p1_an_age_of_thirty_days_keeps_what_was_recorded_today"],
    "P2": [f"{PUBLISHED}::test_p2_every_policy_of_syncing_works"],
    "P3": [KILLED],
    "P4": [f"{PUBLISHED}::test_p4_without_a_policy_neither_a_repair_nor_a_compaction_takes_a_record"],
    "P5": [KILLED, f"{CRASHING}::test_i10_ended_in_any_call_a_compaction_leaves_all_or_what_is_to_stay"],
    "P6": [f"{HERE}/test_met_by_others.py::test_trial_2_what_was_appended_behind_a_tear_survives_a_kill"],
    "P7": [f"{PUBLISHED}::test_p7_a_repair_keeps_a_last_record_that_lacks_its_newline_and_one_behind_zeros"],
    "P9": [
        f"{PUBLISHED}::test_p9_what_is_acknowledged_during_a_repair_or_compaction_is_there",
        f"{FILES}/test_processes.py::test_a_second_process_reads_and_scans_and_may_not_write",
    ],
    "P10": [SEGMENTS_MACHINE, MACHINE],
    "P12": [f"{PUBLISHED}::test_p12_a_line_that_lacks_fields_reads_as_empty_and_stops_nobody"],
    "P13": [
        f"{PUBLISHED}::test_p13_quarantine_on_another_file_system_gets_the_bytes_and_only_those",
        f"{FILES}/test_trials.py::test_i4_what_a_repair_takes_out_lies_in_quarantine",
    ],
    "P15": [f"{PUBLISHED}::test_p15_a_full_disk_leaves_no_temporary_file_behind"],
    "P16": [f"{PROCESSES}::test_f11_of_writers_that_begin_at_once_one_writes_and_the_others_are_told"],
    "P18": [f"{PUBLISHED}::test_p18_lines_of_json_that_are_no_record_are_told_and_kept_aside"],
    "P19": [f"{SHARING}::test_a_closed_store_says_so"],
    "P20": [f"{PUBLISHED}::test_p20_what_json_cannot_say_reads_back_equal_or_says_that_it_does_not"],
    "P21": [f"{PUBLISHED}::test_p21_a_record_that_is_handed_in_twice_is_there_once_and_a_double_is_found"],
    "P22": [
        "tests/unit/runtime/test_start.py::test_persistence_recovery_completes_a_bare_recover",
        "tests/unit/startup/test_startup_check.py::test_a_scan_that_hangs_is_given_up_with_a_reason",
    ],
}


@cache
def names_in(path: Path) -> frozenset[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names.update(target.id for target in node.targets if isinstance(target, ast.Name))
    return frozenset(names)


@pytest.mark.parametrize(
    ("fault", "tests"),
    [*FAULT_MODEL.items(), *MET_BY_OTHERS.items(), *FOUND_IN_THE_PUBLISHED.items()],
    ids=lambda value: str(value)[:30],
)
def test_every_known_fault_has_its_tests(fault: str, tests: list[str]) -> None:
    assert tests, fault
    for test in tests:
        file, _, name = test.partition("::")
        assert name in names_in(ROOT / file), test


def test_no_fault_of_the_model_is_left_out() -> None:
    numbered = {key.split()[0] for key in FAULT_MODEL}
    assert numbered == {f"F{number}" for number in (*range(1, 15), 17, 18, 19)}
    assert {key.split()[0] for key in MET_BY_OTHERS} == {
        str(number) for number in (1, 2, 3, 4, 5, 7, 8, 10, 11, 18, 20, 21, 23, 29, 30, 32)
    }
    assert set(FOUND_IN_THE_PUBLISHED) == {
        f"P{number}" for number in (*range(1, 8), 9, 10, 12, 13, 15, 16, 18, 19, 20, 21, 22)
    }


def test_every_test_that_names_a_fault_is_in_its_list() -> None:
    listed = {test for tests in (*FAULT_MODEL.values(), *MET_BY_OTHERS.values()) for test in tests}
    for path in sorted((ROOT / HERE).glob("test_*.py")):
        for name in names_in(path):
            if name.startswith(("test_f", "test_trial_")) and name[6:7].isdigit():
                assert f"{HERE}/{path.name}::{name}" in listed, name
