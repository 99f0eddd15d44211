/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
/* The layout of public structs and the values of public constants, as version 0.1 has them on
 * 64-bit systems. Programs compiled before depend on them: members are only ever appended, and then
 * their line and the new size are added here. */
#include <quantlib/quantlib.h>
#include <quantlib/threads.h>

#define SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), "the size of " #type)
#define AT(type, member, offset) \
  _Static_assert(offsetof(type, member) == (offset), #type "." #member)
#define IS(constant, value) _Static_assert((constant) == (value), #constant)

#if UINTPTR_MAX == UINT64_MAX
SIZE(ql_drift_config, 32);
AT(ql_drift_config, struct_size, 0);
AT(ql_drift_config, damp, 8);
AT(ql_drift_config, damp_factor, 16);
AT(ql_drift_config, damp_max, 24);

SIZE(ql_drift_report, 48);
AT(ql_drift_report, struct_size, 0);
AT(ql_drift_report, damp, 8);
AT(ql_drift_report, retries, 16);
AT(ql_drift_report, reserved, 20);
AT(ql_drift_report, change, 24);
AT(ql_drift_report, change_ref, 32);
AT(ql_drift_report, gain, 40);

SIZE(ql_awq_config, 56);
AT(ql_awq_config, struct_size, 0);
AT(ql_awq_config, points, 8);
AT(ql_awq_config, statistic, 12);
AT(ql_awq_config, weights, 16);
AT(ql_awq_config, loss, 20);
AT(ql_awq_config, refine, 24);
AT(ql_awq_config, reserved, 28);
AT(ql_awq_config, refine_rows, 32);
AT(ql_awq_config, clip_points, 40);
AT(ql_awq_config, reserved2, 44);
AT(ql_awq_config, clip_shrink, 48);

SIZE(ql_awq_report, 56);
AT(ql_awq_report, struct_size, 0);
AT(ql_awq_report, loss_before, 8);
AT(ql_awq_report, loss, 16);
AT(ql_awq_report, ratio, 24);
AT(ql_awq_report, duo, 32);
AT(ql_awq_report, kept, 36);
AT(ql_awq_report, changed, 40);
AT(ql_awq_report, groups, 48);

SIZE(ql_gain_config, 40);
AT(ql_gain_config, struct_size, 0);
AT(ql_gain_config, damp, 8);
AT(ql_gain_config, min, 16);
AT(ql_gain_config, max, 24);
AT(ql_gain_config, sweeps, 32);
AT(ql_gain_config, reserved, 36);

SIZE(ql_gain_report, 32);
AT(ql_gain_report, struct_size, 0);
AT(ql_gain_report, loss_before, 8);
AT(ql_gain_report, loss, 16);
AT(ql_gain_report, bounded, 24);

SIZE(ql_signround_config, 32);
AT(ql_signround_config, struct_size, 0);
AT(ql_signround_config, steps, 8);
AT(ql_signround_config, tune_range, 12);
AT(ql_signround_config, rate, 16);
AT(ql_signround_config, damp, 24);

SIZE(ql_signround_report, 32);
AT(ql_signround_report, struct_size, 0);
AT(ql_signround_report, loss, 8);
AT(ql_signround_report, loss_rtn, 16);
AT(ql_signround_report, rows, 24);

SIZE(ql_gptq_config, 80);
AT(ql_gptq_config, struct_size, 0);
AT(ql_gptq_config, order, 8);
AT(ql_gptq_config, fallback, 12);
AT(ql_gptq_config, damp, 16);
AT(ql_gptq_config, damp_factor, 24);
AT(ql_gptq_config, damp_max, 32);
AT(ql_gptq_config, block, 40);
AT(ql_gptq_config, min_tokens, 48);
AT(ql_gptq_config, seed, 56);
AT(ql_gptq_config, dead_keep, 64);
AT(ql_gptq_config, static_grids, 68);
AT(ql_gptq_config, lapack, 72);
AT(ql_gptq_config, classical, 76);

SIZE(ql_eora_config, 24);
AT(ql_eora_config, struct_size, 0);
AT(ql_eora_config, rank, 8);
AT(ql_eora_config, dtype, 16);
AT(ql_eora_config, reserved, 20);

SIZE(ql_eora_report, 40);
AT(ql_eora_report, struct_size, 0);
AT(ql_eora_report, rank, 8);
AT(ql_eora_report, loss_before, 16);
AT(ql_eora_report, loss_after, 24);
AT(ql_eora_report, loss_bound, 32);

SIZE(ql_salient_config, 40);
AT(ql_salient_config, struct_size, 0);
AT(ql_salient_config, percent, 8);
AT(ql_salient_config, damp, 16);
AT(ql_salient_config, dtype, 24);
AT(ql_salient_config, by, 28);
AT(ql_salient_config, feedback, 32);
AT(ql_salient_config, reserved, 36);

SIZE(ql_gptq_report, 88);
AT(ql_gptq_report, struct_size, 0);
AT(ql_gptq_report, outcome, 8);
AT(ql_gptq_report, retries, 12);
AT(ql_gptq_report, damp, 16);
AT(ql_gptq_report, tokens, 24);
AT(ql_gptq_report, dead, 32);
AT(ql_gptq_report, loss, 40);
AT(ql_gptq_report, loss_check, 48);
AT(ql_gptq_report, proxy, 56);
AT(ql_gptq_report, proxy_ref, 64);
AT(ql_gptq_report, sse, 72);
AT(ql_gptq_report, sse_ref, 80);

SIZE(ql_hqq_config, 48);
AT(ql_hqq_config, struct_size, 0);
AT(ql_hqq_config, norm, 8);
AT(ql_hqq_config, beta, 16);
AT(ql_hqq_config, kappa, 24);
AT(ql_hqq_config, iterations, 32);
AT(ql_hqq_config, round_zero, 36);
AT(ql_hqq_config, classical, 40);
AT(ql_hqq_config, reserved, 44);

SIZE(ql_hqq_report, 64);
AT(ql_hqq_report, struct_size, 0);
AT(ql_hqq_report, loss, 8);
AT(ql_hqq_report, loss_start, 16);
AT(ql_hqq_report, sse, 24);
AT(ql_hqq_report, sse_ref, 32);
AT(ql_hqq_report, blocks, 40);
AT(ql_hqq_report, improved, 48);
AT(ql_hqq_report, steps, 56);
AT(ql_hqq_report, reserved, 60);

SIZE(ql_solve_config, 104);
AT(ql_solve_config, struct_size, 0);
AT(ql_solve_config, order, 8);
AT(ql_solve_config, fallback, 12);
AT(ql_solve_config, damp, 16);
AT(ql_solve_config, min_tokens, 24);
AT(ql_solve_config, seed, 32);
AT(ql_solve_config, dead_keep, 40);
AT(ql_solve_config, static_grids, 44);
AT(ql_solve_config, search, 48);
AT(ql_solve_config, rounds, 52);
AT(ql_solve_config, descent, 56);
AT(ql_solve_config, refit, 60);
AT(ql_solve_config, regrid, 64);
AT(ql_solve_config, shuffle, 68);
AT(ql_solve_config, beam, 72);
AT(ql_solve_config, klein, 76);
AT(ql_solve_config, reserved, 80);
AT(ql_solve_config, temperature, 88);
AT(ql_solve_config, descent_damp, 96);

SIZE(ql_solve_report, 128);
AT(ql_solve_report, struct_size, 0);
AT(ql_solve_report, outcome, 8);
AT(ql_solve_report, retries, 12);
AT(ql_solve_report, damp, 16);
AT(ql_solve_report, tokens, 24);
AT(ql_solve_report, dead, 32);
AT(ql_solve_report, loss_start, 40);
AT(ql_solve_report, loss, 48);
AT(ql_solve_report, loss_check, 56);
AT(ql_solve_report, proxy, 64);
AT(ql_solve_report, proxy_ref, 72);
AT(ql_solve_report, sse, 80);
AT(ql_solve_report, sse_ref, 88);
AT(ql_solve_report, searched, 96);
AT(ql_solve_report, walked, 104);
AT(ql_solve_report, moves, 112);
AT(ql_solve_report, rounds, 120);
AT(ql_solve_report, reserved, 124);
SIZE(ql_iw_config, 32);
AT(ql_iw_config, struct_size, 0);
AT(ql_iw_config, magnitude, 8);
AT(ql_iw_config, steps, 12);
AT(ql_iw_config, refits, 16);
AT(ql_iw_config, reserved, 20);
AT(ql_iw_config, reach, 24);

SIZE(ql_iw_report, 40);
AT(ql_iw_report, struct_size, 0);
AT(ql_iw_report, loss, 8);
AT(ql_iw_report, loss_start, 16);
AT(ql_iw_report, sse, 24);
AT(ql_iw_report, sse_ref, 32);

SIZE(ql_imatrix_entry, 48);
AT(ql_imatrix_entry, struct_size, 0);
AT(ql_imatrix_entry, name, 8);
AT(ql_imatrix_entry, cols, 16);
AT(ql_imatrix_entry, matrices, 24);
AT(ql_imatrix_entry, sums, 32);
AT(ql_imatrix_entry, counts, 40);

SIZE(ql_imatrix_source, 24);
AT(ql_imatrix_source, struct_size, 0);
AT(ql_imatrix_source, chunks, 8);
AT(ql_imatrix_source, chunk_tokens, 12);
AT(ql_imatrix_source, datasets, 16);

SIZE(ql_algo_info, 56);
AT(ql_algo_info, struct_size, 0);
AT(ql_algo_info, name, 8);
AT(ql_algo_info, summary, 16);
AT(ql_algo_info, source, 24);
AT(ql_algo_info, needs, 32);
AT(ql_algo_info, takes_target, 36);
AT(ql_algo_info, options, 40);
AT(ql_algo_info, kinds, 48);
AT(ql_algo_info, reserved, 52);

SIZE(ql_algo_option, 80);
AT(ql_algo_option, struct_size, 0);
AT(ql_algo_option, name, 8);
AT(ql_algo_option, help, 16);
AT(ql_algo_option, choices, 24);
AT(ql_algo_option, integer, 32);
AT(ql_algo_option, preset, 36);
AT(ql_algo_option, min, 64);
AT(ql_algo_option, max, 72);

SIZE(ql_algo_setting, 16);
AT(ql_algo_setting, name, 0);
AT(ql_algo_setting, value, 8);

SIZE(ql_algo_input, 56);
AT(ql_algo_input, struct_size, 0);
AT(ql_algo_input, w, 8);
AT(ql_algo_input, target, 16);
AT(ql_algo_input, grid, 24);
AT(ql_algo_input, stats, 32);
AT(ql_algo_input, factor, 40);
AT(ql_algo_input, seed, 48);
SIZE(ql_plan_choice, 32);
AT(ql_plan_choice, bits, 0);
AT(ql_plan_choice, reserved, 4);
AT(ql_plan_choice, group, 8);
AT(ql_plan_choice, error, 16);
AT(ql_plan_choice, cost, 24);

SIZE(ql_plan_item, 32);
AT(ql_plan_item, name, 0);
AT(ql_plan_item, choices, 8);
AT(ql_plan_item, count, 16);
AT(ql_plan_item, tie, 24);

SIZE(ql_plan_config, 24);
AT(ql_plan_config, struct_size, 0);
AT(ql_plan_config, budget, 8);
AT(ql_plan_config, max_states, 16);

SIZE(ql_plan_report, 64);
AT(ql_plan_report, struct_size, 0);
AT(ql_plan_report, error, 8);
AT(ql_plan_report, bound, 16);
AT(ql_plan_report, gap, 24);
AT(ql_plan_report, price, 32);
AT(ql_plan_report, cost, 40);
AT(ql_plan_report, smallest_cost, 48);
AT(ql_plan_report, states, 56);

SIZE(ql_sensitivity_config, 40);
AT(ql_sensitivity_config, struct_size, 0);
AT(ql_sensitivity_config, algo, 8);
AT(ql_sensitivity_config, seed, 16);
AT(ql_sensitivity_config, visit, 24);
AT(ql_sensitivity_config, user, 32);

SIZE(ql_sensitivity, 40);
AT(ql_sensitivity, error, 0);
AT(ql_sensitivity, reference, 8);
AT(ql_sensitivity, sse, 16);
AT(ql_sensitivity, sse_ref, 24);
AT(ql_sensitivity, bits, 32);

SIZE(ql_allocator, 24);
AT(ql_allocator, user, 0);
AT(ql_allocator, alloc, 8);
AT(ql_allocator, free, 16);

SIZE(ql_executor, 24);
AT(ql_executor, user, 0);
AT(ql_executor, max_workers, 8);
AT(ql_executor, parallel_for, 16);

SIZE(ql_ctx_config, 104);
AT(ql_ctx_config, struct_size, 0);
AT(ql_ctx_config, isa, 8);
AT(ql_ctx_config, flags, 16);
AT(ql_ctx_config, reserved, 20);
AT(ql_ctx_config, allocator, 24);
AT(ql_ctx_config, executor, 48);
AT(ql_ctx_config, log, 72);
AT(ql_ctx_config, log_user, 80);
AT(ql_ctx_config, progress, 88);
AT(ql_ctx_config, progress_user, 96);

SIZE(ql_format_part, 56);
AT(ql_format_part, suffix, 0);
AT(ql_format_part, dtype, 32);
AT(ql_format_part, rank, 36);
AT(ql_format_part, shape, 40);

SIZE(ql_format_extra, 40);
AT(ql_format_extra, struct_size, 0);
AT(ql_format_extra, in_scale, 8);
AT(ql_format_extra, side_dtype, 12);
AT(ql_format_extra, side_count, 16);
AT(ql_format_extra, rank, 24);
AT(ql_format_extra, lora_dtype, 32);
AT(ql_format_extra, reserved, 36);

SIZE(ql_format_decode_info, 24);
AT(ql_format_decode_info, struct_size, 0);
AT(ql_format_decode_info, bits, 8);
AT(ql_format_decode_info, symmetric, 12);
AT(ql_format_decode_info, group, 16);

SIZE(ql_file_info, 112);
AT(ql_file_info, struct_size, 0);
AT(ql_file_info, name, 8);
AT(ql_file_info, path, 16);
AT(ql_file_info, dtype, 24);
AT(ql_file_info, rank, 28);
AT(ql_file_info, shape, 32);
AT(ql_file_info, offset, 96);
AT(ql_file_info, bytes, 104);

SIZE(ql_writer_config, 24);
AT(ql_writer_config, struct_size, 0);
AT(ql_writer_config, shard_bytes, 8);
AT(ql_writer_config, overwrite, 16);
AT(ql_writer_config, reserved, 20);

SIZE(ql_kv_config, 48);
AT(ql_kv_config, struct_size, 0);
AT(ql_kv_config, layers, 8);
AT(ql_kv_config, heads, 16);
AT(ql_kv_config, dim, 24);
AT(ql_kv_config, capacity, 32);
AT(ql_kv_config, dtype, 40);
AT(ql_kv_config, reserved, 44);

SIZE(ql_link_consumer, 184);
AT(ql_link_consumer, name, 0);
AT(ql_link_consumer, weight, 8);
AT(ql_link_consumer, flags, 176);
AT(ql_link_consumer, reserved, 180);

SIZE(ql_link, 416);
AT(ql_link, struct_size, 0);
AT(ql_link, kind, 8);
AT(ql_link, reserved, 12);
AT(ql_link, channels, 16);
AT(ql_link, heads, 24);
AT(ql_link, kv_heads, 32);
AT(ql_link, weight_name, 40);
AT(ql_link, bias_name, 48);
AT(ql_link, weight, 56);
AT(ql_link, bias, 224);
AT(ql_link, consumer_count, 392);
AT(ql_link, consumers, 400);
AT(ql_link, stats, 408);

SIZE(ql_link_probe, 16);
AT(ql_link_probe, user, 0);
AT(ql_link_probe, output, 8);

SIZE(ql_links, 56);
AT(ql_links, struct_size, 0);
AT(ql_links, count, 8);
AT(ql_links, links, 16);
AT(ql_links, forward, 24);
AT(ql_links, user, 32);
AT(ql_links, output_rows, 40);
AT(ql_links, output_cols, 48);

SIZE(ql_link_report, 40);
AT(ql_link_report, struct_size, 0);
AT(ql_link_report, producer_error, 8);
AT(ql_link_report, consumer_error, 16);
AT(ql_link_report, output_error, 24);
AT(ql_link_report, scale_min, 32);
AT(ql_link_report, scale_max, 36);

SIZE(ql_grid_config, 72);
AT(ql_grid_config, struct_size, 0);
AT(ql_grid_config, bits, 8);
AT(ql_grid_config, kind, 12);
AT(ql_grid_config, block_rows, 16);
AT(ql_grid_config, block_cols, 24);
AT(ql_grid_config, scale_dtype, 32);
AT(ql_grid_config, zero_min, 36);
AT(ql_grid_config, flags, 40);
AT(ql_grid_config, mse_steps, 44);
AT(ql_grid_config, mse_norm, 48);
AT(ql_grid_config, mse_shrink, 56);
AT(ql_grid_config, table, 64);
AT(ql_grid_config, reserved, 68);

SIZE(ql_table_info, 40);
AT(ql_table_info, struct_size, 0);
AT(ql_table_info, id, 8);
AT(ql_table_info, bits, 12);
AT(ql_table_info, name, 16);
AT(ql_table_info, source, 24);
AT(ql_table_info, levels, 32);

SIZE(ql_qmat_view, 200);
AT(ql_qmat_view, struct_size, 0);
AT(ql_qmat_view, rows, 8);
AT(ql_qmat_view, cols, 16);
AT(ql_qmat_view, bits, 24);
AT(ql_qmat_view, kind, 28);
AT(ql_qmat_view, block_rows, 32);
AT(ql_qmat_view, block_cols, 40);
AT(ql_qmat_view, groups, 48);
AT(ql_qmat_view, scale_dtype, 56);
AT(ql_qmat_view, reserved, 60);
AT(ql_qmat_view, codes, 64);
AT(ql_qmat_view, scales, 72);
AT(ql_qmat_view, zeros, 80);
AT(ql_qmat_view, g_idx, 88);
AT(ql_qmat_view, perm, 96);
AT(ql_qmat_view, fzeros, 104);
AT(ql_qmat_view, in_scale, 112);
AT(ql_qmat_view, side_count, 120);
AT(ql_qmat_view, side_cols, 128);
AT(ql_qmat_view, side_values, 136);
AT(ql_qmat_view, side_scales, 144);
AT(ql_qmat_view, side_dtype, 152);
AT(ql_qmat_view, lora_dtype, 156);
AT(ql_qmat_view, rank, 160);
AT(ql_qmat_view, lora_a, 168);
AT(ql_qmat_view, lora_b, 176);
AT(ql_qmat_view, levels, 184);
AT(ql_qmat_view, level_sets, 192);

SIZE(ql_packed_info, 56);
AT(ql_packed_info, struct_size, 0);
AT(ql_packed_info, n, 8);
AT(ql_packed_info, k, 16);
AT(ql_packed_info, bits, 24);
AT(ql_packed_info, dtype, 28);
AT(ql_packed_info, group, 32);
AT(ql_packed_info, bytes, 40);
AT(ql_packed_info, layout, 48);
AT(ql_packed_info, permuted, 52);

SIZE(ql_gemm_options, 64);
AT(ql_gemm_options, struct_size, 0);
AT(ql_gemm_options, bias, 8);
AT(ql_gemm_options, workspace, 16);
AT(ql_gemm_options, workspace_bytes, 24);
AT(ql_gemm_options, compute, 32);
AT(ql_gemm_options, reserved, 36);
AT(ql_gemm_options, act, 40);
AT(ql_gemm_options, x_scales, 48);
AT(ql_gemm_options, x_zeros, 56);

SIZE(ql_smooth_config, 48);
AT(ql_smooth_config, struct_size, 0);
AT(ql_smooth_config, alpha, 8);
AT(ql_smooth_config, search, 16);
AT(ql_smooth_config, reserved, 20);
AT(ql_smooth_config, limit, 24);
AT(ql_smooth_config, grid, 32);
AT(ql_smooth_config, act, 40);

SIZE(ql_smooth_report, 48);
AT(ql_smooth_report, struct_size, 0);
AT(ql_smooth_report, alpha, 8);
AT(ql_smooth_report, error, 16);
AT(ql_smooth_report, error_plain, 24);
AT(ql_smooth_report, scale_min, 32);
AT(ql_smooth_report, scale_max, 36);
AT(ql_smooth_report, dead, 40);

SIZE(ql_act_config, 40);
AT(ql_act_config, struct_size, 0);
AT(ql_act_config, mode, 8);
AT(ql_act_config, asymmetric, 12);
AT(ql_act_config, scale, 16);
AT(ql_act_config, zero, 20);
AT(ql_act_config, threshold, 24);
AT(ql_act_config, reserved, 28);
AT(ql_act_config, group, 32);

SIZE(ql_stats_config, 48);
AT(ql_stats_config, struct_size, 0);
AT(ql_stats_config, cols, 8);
AT(ql_stats_config, cols2, 16);
AT(ql_stats_config, reservoir_rows, 24);
AT(ql_stats_config, seed, 32);
AT(ql_stats_config, what, 40);
AT(ql_stats_config, reserved, 44);

SIZE(ql_error, 1440);
AT(ql_error, struct_size, 0);
AT(ql_error, status, 8);
AT(ql_error, cause, 12);
AT(ql_error, row, 16);
AT(ql_error, col, 24);
AT(ql_error, text, 32);
AT(ql_error, hint, 416);
AT(ql_error, tensor, 672);
AT(ql_error, file, 928);

SIZE(ql_tensor, 168);
AT(ql_tensor, data, 0);
AT(ql_tensor, dtype, 8);
AT(ql_tensor, rank, 12);
AT(ql_tensor, device, 16);
AT(ql_tensor, reserved0, 20);
AT(ql_tensor, shape, 24);
AT(ql_tensor, stride, 88);
AT(ql_tensor, reserved, 152);
#endif

IS(QL_AWQ_MEAN_ABS, 0);
IS(QL_AWQ_RMS, 1);
IS(QL_AWQ_MEAN_ABS_NORM, 2);
IS(QL_AWQ_WEIGHTS_NONE, 0);
IS(QL_AWQ_WEIGHTS_DUO, 1);
IS(QL_AWQ_WEIGHTS_BOTH, 2);
IS(QL_AWQ_LOSS_HESSIAN, 0);
IS(QL_AWQ_LOSS_ROWS, 1);
IS(QL_AWQ_LOSS_BLOCK, 2);

IS(QL_GPTQ_ORDER_NATURAL, 0);
IS(QL_GPTQ_ORDER_ACT, 1);
IS(QL_GPTQ_ORDER_STATIC, 2);
IS(QL_GPTQ_ORDER_GROUP_AWARE, 3);
IS(QL_SOLVE_SEARCH_RANGE, 0);
IS(QL_SOLVE_SEARCH_PIVOT, 1);
IS(QL_GPTQ_FALLBACK_RTN, 0);
IS(QL_GPTQ_FALLBACK_ERROR, 1);
IS(QL_GPTQ_DONE, 0);
IS(QL_GPTQ_DAMPED, 1);
IS(QL_GPTQ_STARVED, 2);
IS(QL_GPTQ_NOT_POSITIVE, 3);

IS(QL_SALIENT_BY_INPUT, 0);
IS(QL_SALIENT_BY_ERROR, 1);

IS(QL_CTX_REPRODUCIBLE, 1u);

IS(QL_FORMAT_NONE, 0);
IS(QL_FORMAT_GPTQ, 1);
IS(QL_FORMAT_GPTQ_V2, 2);
IS(QL_FORMAT_INT_QUANTIZED, 16);
IS(QL_FORMAT_MAX_PARTS, 32);
IS(QL_FORMAT_HQQ, 17);

IS(QL_LINK_NONE, 0);
IS(QL_LINK_NORM, 1);
IS(QL_LINK_NORM_PLUS1, 2);
IS(QL_LINK_ROWS, 3);
IS(QL_LINK_EMBEDDING, 4);
IS(QL_CONSUMER_FLOAT, 1u);
IS(QL_CONSUMER_PRODUCT, 2u);

IS(QL_GRID_ASYM, 1);
IS(QL_GRID_SYM_CENTRED, 2);
IS(QL_GRID_SYM_RESTRICTED, 3);
IS(QL_GRID_SYM_FULL, 4);
IS(QL_GRID_SYM_SIGNED, 5);
IS(QL_GRID_FLOAT_ZERO, 6);
IS(QL_GRID_TERNARY, 7);
IS(QL_GRID_TABLE, 8);
IS(QL_TABLE_NONE, 0);
IS(QL_TABLE_NF4, 1);
IS(QL_TABLE_FP4, 2);
IS(QL_TABLE_E2M1, 3);
IS(QL_TABLE_IQ4_NL, 4);
IS(QL_PART_FLOAT_ZEROS, 1u);
IS(QL_PART_IN_SCALE, 2u);
IS(QL_PART_SIDE_COLUMNS, 4u);
IS(QL_PART_LOW_RANK, 8u);
IS(QL_PART_TABLE, 16u);
IS(QL_GRID_RAW_RANGE, 1u);
IS(QL_GRID_CLASSICAL, 2u);
IS(QL_GRID_THREE_LEVELS, 4u);
IS(QL_IMATRIX_LEGACY, 1);
IS(QL_IMATRIX_GGUF, 2);
IS(QL_HQQ_ROUND_SOURCE, 0);
IS(QL_HQQ_ROUND_NEVER, 1);
IS(QL_HQQ_ROUND_ALWAYS, 2);

IS(QL_COMPUTE_F32, 0);
IS(QL_COMPUTE_A8, 2);
IS(QL_ACT_TOKEN, 0);
IS(QL_ACT_TENSOR, 1);
IS(QL_ACT_STATIC, 2);

IS(QL_STATS_HESSIAN, 0x01u);
IS(QL_STATS_CROSS, 0x02u);
IS(QL_STATS_MIN, 0x04u);
IS(QL_STATS_MAX, 0x08u);
IS(QL_STATS_MEAN_ABS, 0x10u);
IS(QL_STATS_SUM_SQ, 0x20u);
IS(QL_STATS_RESERVOIR, 0x40u);
IS(QL_STATS_SUM, 0x200u);
IS(QL_STATS_SUM2, 0x400u);

IS(QL_STATUS_OK, 0);
IS(QL_STATUS_INVALID_ARGUMENT, 1);
IS(QL_STATUS_SHAPE, 2);
IS(QL_STATUS_DTYPE, 3);
IS(QL_STATUS_OVERFLOW, 4);
IS(QL_STATUS_NO_MEMORY, 10);
IS(QL_STATUS_CANCELLED, 11);
IS(QL_STATUS_UNSUPPORTED, 20);
IS(QL_STATUS_LAYOUT, 21);
IS(QL_STATUS_IO, 30);
IS(QL_STATUS_NOT_FOUND, 31);
IS(QL_STATUS_EXISTS, 32);
IS(QL_STATUS_FORMAT, 40);
IS(QL_STATUS_NUMERIC, 50);
IS(QL_STATUS_SELF_CHECK, 51);
IS(QL_STATUS_INTERNAL, 90);

IS(QL_DTYPE_NONE, 0);
IS(QL_DTYPE_F32, 1);
IS(QL_DTYPE_F16, 2);
IS(QL_DTYPE_BF16, 3);
IS(QL_DTYPE_F64, 4);
IS(QL_DTYPE_I8, 16);
IS(QL_DTYPE_U8, 17);
IS(QL_DTYPE_I16, 18);
IS(QL_DTYPE_U16, 19);
IS(QL_DTYPE_I32, 20);
IS(QL_DTYPE_U32, 21);
IS(QL_DTYPE_I64, 22);
IS(QL_DTYPE_U64, 23);
IS(QL_DTYPE_BOOL, 24);
IS(QL_DTYPE_C64, 25);
IS(QL_DTYPE_I4, 32);
IS(QL_DTYPE_U4, 33);
IS(QL_DTYPE_U2, 34);
IS(QL_DTYPE_F8_E4M3, 48);
IS(QL_DTYPE_F8_E5M2, 49);
IS(QL_DTYPE_F8_E8M0, 50);
IS(QL_DTYPE_F8_E4M3FNUZ, 51);
IS(QL_DTYPE_F8_E5M2FNUZ, 52);
IS(QL_DTYPE_F6_E2M3, 53);
IS(QL_DTYPE_F6_E3M2, 54);
IS(QL_DTYPE_F4, 55);
IS(QL_MAX_RANK, 8);

int main(void)
{
  return 0;
}
