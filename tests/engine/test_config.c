/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "../cm.h"

#include "config.h"
#include "scratch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIZES \
  "\"hidden_size\":64,\"intermediate_size\":96,\"num_hidden_layers\":4," \
  "\"num_attention_heads\":8,\"vocab_size\":100"
#define LLAMA "\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\"," SIZES

static void put(const char *name, const char *text)
{
  write_bytes(scratch_path(name), text, strlen(text));
}

static ql_status read_text(const char *config, qle_config *out, ql_error *error)
{
  put("config.json", config);
  return qle_config_read(scratch_dir(), out, error);
}

static qle_config must_read(const char *text)
{
  qle_config config;
  ql_error error = QL_ERROR_INIT;
  if (read_text(text, &config, &error) != QL_STATUS_OK)
    fail_msg("%s\n  for %s", error.text, text);
  return config;
}

static void test_llama(void **state)
{
  (void)state;
  qle_config c = must_read("{" LLAMA ",\"num_key_value_heads\":2,\"rms_norm_eps\":1e-5,"
                           "\"rope_theta\":500000.0,\"max_position_embeddings\":4096,"
                           "\"torch_dtype\":\"bfloat16\",\"bos_token_id\":1,\"eos_token_id\":2,"
                           "\"tie_word_embeddings\":true,\"head_dim\":null}");
  assert_int_equal(c.arch, QLE_ARCH_LLAMA);
  assert_int_equal(c.hidden, 64);
  assert_int_equal(c.ffn, 96);
  assert_int_equal(c.layers, 4);
  assert_int_equal(c.heads, 8);
  assert_int_equal(c.kv_heads, 2);
  assert_int_equal(c.head_dim, 8);
  assert_int_equal(c.vocab, 100);
  assert_int_equal(c.context, 4096);
  assert_true(c.rms_eps == 1e-5f);
  assert_true(c.rope.theta == 500000.0);
  assert_int_equal(c.rope.kind, QLE_ROPE_DEFAULT);
  assert_int_equal(c.tied, 1);
  assert_int_equal(c.bos, 1);
  assert_int_equal(c.eos_count, 1);
  assert_int_equal(c.eos[0], 2);
  assert_int_equal(c.attention_bias | c.output_bias | c.mlp_bias | c.qk_norm, 0);
  assert_int_equal(qle_config_window(&c, 0), 0);
  assert_int_equal(c.quant.format, QL_FORMAT_NONE);
  qle_config_free(&c);
}

static void test_defaults_of_classes(void **state)
{
  (void)state;
  qle_config c = must_read("{" LLAMA "}");
  assert_int_equal(c.kv_heads, 8);
  assert_int_equal(c.context, 2048);
  assert_true(c.rms_eps == 1e-6f);
  assert_true(c.rope.theta == 10000.0);
  assert_int_equal(c.tied, 0);
  assert_int_equal(c.bos, -1);
  assert_int_equal(c.eos_count, 0);

  c = must_read("{\"architectures\":[\"MistralForCausalLM\"]," SIZES "}");
  assert_int_equal(c.arch, QLE_ARCH_MISTRAL);
  assert_int_equal(c.kv_heads, 8);
  assert_int_equal(c.context, 131072);
  assert_int_equal(qle_config_window(&c, 0), 4096);
  assert_int_equal(c.attention_bias, 0);

  c = must_read("{\"architectures\":[\"MistralForCausalLM\"]," SIZES
                ",\"sliding_window\":null,\"num_key_value_heads\":null,\"head_dim\":16}");
  assert_int_equal(qle_config_window(&c, 0), 0);
  assert_int_equal(c.kv_heads, 8);
  assert_int_equal(c.head_dim, 16);

  c = must_read("{\"architectures\":[\"Qwen2ForCausalLM\"],\"num_key_value_heads\":2," SIZES "}");
  assert_int_equal(c.arch, QLE_ARCH_QWEN2);
  assert_int_equal(c.attention_bias, 1);
  assert_int_equal(c.output_bias, 0);
  assert_int_equal(c.qk_norm, 0);
  assert_int_equal(qle_config_window(&c, 3), 0);

  c = must_read("{\"model_type\":\"qwen3\",\"num_key_value_heads\":2," SIZES "}");
  assert_int_equal(c.arch, QLE_ARCH_QWEN3);
  assert_int_equal(c.head_dim, 128);
  assert_int_equal(c.qk_norm, 1);
  assert_int_equal(c.attention_bias, 0);
  c = must_read("{\"model_type\":\"qwen3\",\"num_key_value_heads\":2,\"attention_bias\":true," SIZES
                "}");
  assert_int_equal(c.attention_bias, 1);
  assert_int_equal(c.output_bias, 1);
}

static void test_llama_biases(void **state)
{
  (void)state;
  qle_config c = must_read("{" LLAMA ",\"attention_bias\":true,\"mlp_bias\":true}");
  assert_int_equal(c.attention_bias, 1);
  assert_int_equal(c.output_bias, 1);
  assert_int_equal(c.mlp_bias, 1);
}

static void test_windows(void **state)
{
  (void)state;
  static const char qwen[] = "\"model_type\":\"qwen2\",\"num_key_value_heads\":2," SIZES;
  char text[1024];
  snprintf(text, sizeof text,
           "{%s,\"use_sliding_window\":true,\"sliding_window\":16,\"max_window_layers\":2}", qwen);
  qle_config c = must_read(text);
  const size_t expected[4] = {0, 0, 16, 16};
  for (size_t i = 0; i < 4; i++)
    assert_int_equal(qle_config_window(&c, i), expected[i]);
  snprintf(text, sizeof text,
           "{%s,\"use_sliding_window\":true,\"sliding_window\":16,\"layer_types\":"
           "[\"sliding_attention\",\"full_attention\",\"sliding_attention\",\"full_attention\"]}",
           qwen);
  c = must_read(text);
  for (size_t i = 0; i < 4; i++)
    assert_int_equal(qle_config_window(&c, i), i % 2 == 0 ? 16 : 0);
}

static void test_rope_kinds(void **state)
{
  (void)state;
  qle_config c =
      must_read("{" LLAMA ",\"rope_theta\":10000.0,\"rope_scaling\":{\"type\":\"linear\","
                "\"factor\":4.0}}");
  assert_int_equal(c.rope.kind, QLE_ROPE_LINEAR);
  assert_true(c.rope.factor == 4.0);

  c = must_read("{" LLAMA ",\"rope_theta\":7.0,\"rope_parameters\":{\"rope_theta\":500000.0,"
                "\"rope_type\":\"llama3\",\"factor\":8.0,\"low_freq_factor\":1.0,"
                "\"high_freq_factor\":4.0,\"original_max_position_embeddings\":8192}}");
  assert_int_equal(c.rope.kind, QLE_ROPE_LLAMA3);
  assert_true(c.rope.theta == 500000.0);
  assert_true(c.rope.factor == 8.0 && c.rope.low_freq_factor == 1.0);
  assert_true(c.rope.high_freq_factor == 4.0);
  assert_int_equal(c.rope.original_context, 8192);

  c = must_read("{" LLAMA ",\"max_position_embeddings\":4096,\"rope_scaling\":{"
                "\"rope_type\":\"yarn\",\"factor\":4,\"beta_fast\":16,"
                "\"original_max_position_embeddings\":1024,\"truncate\":false}}");
  assert_int_equal(c.rope.kind, QLE_ROPE_YARN);
  assert_true(c.rope.beta_fast == 16 && c.rope.beta_slow == 1);
  assert_int_equal(c.rope.truncate, 0);
  assert_true(c.rope.attention_factor == 0);

  c = must_read("{" LLAMA ",\"max_position_embeddings\":4096,\"rope_parameters\":{"
                "\"rope_type\":\"yarn\",\"factor\":null,"
                "\"original_max_position_embeddings\":1024,\"attention_factor\":1.5}}");
  assert_true(c.rope.factor == 4.0);
  assert_true(c.rope.attention_factor == 1.5);

  c = must_read("{" LLAMA ",\"rope_scaling\":{},\"rope_parameters\":{\"rope_type\":\"default\","
                "\"rope_theta\":1e6}}");
  assert_int_equal(c.rope.kind, QLE_ROPE_DEFAULT);
  assert_true(c.rope.theta == 1e6);
}

static void test_generation_config(void **state)
{
  (void)state;
  put("generation_config.json", "{\"eos_token_id\":[3,5],\"bos_token_id\":4}");
  qle_config c = must_read("{" LLAMA ",\"eos_token_id\":2}");
  assert_int_equal(c.eos_count, 2);
  assert_int_equal(c.eos[0], 3);
  assert_int_equal(c.eos[1], 5);
  assert_int_equal(c.bos, 4);
  ql_error error = QL_ERROR_INIT;
  put("generation_config.json", "{\"eos_token_id\":[3,500]}");
  assert_int_equal(read_text("{" LLAMA "}", &c, &error), QL_STATUS_FORMAT);
  assert_non_null(strstr(error.text, "generation_config.json"));
  remove_tree(scratch_path("generation_config.json"));
}

static qle_quant quant_of(const qle_config *config, const char *layer)
{
  qle_quant quant;
  ql_error error = QL_ERROR_INIT;
  if (qle_config_layer_quant(config, layer, &quant, &error) != QL_STATUS_OK)
    fail_msg("%s", error.text);
  return quant;
}

static void test_quantization_config(void **state)
{
  (void)state;
  qle_config c =
      must_read("{" LLAMA ",\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":4,"
                "\"group_size\":128,\"sym\":false,\"desc_act\":true,"
                "\"checkpoint_format\":\"gptq_v2\"}}");
  assert_int_equal(c.quant.format, QL_FORMAT_GPTQ_V2);
  assert_int_equal(c.quant.bits, 4);
  assert_int_equal(c.quant.group, 128);
  assert_int_equal(c.quant.symmetric, 0);
  assert_int_equal(c.quant.act_order, 1);
  assert_int_equal(quant_of(&c, "model.layers.0.self_attn.q_proj").bits, 4);

  c = must_read("{" LLAMA ",\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":2,"
                "\"group_size\":-1}}");
  assert_int_equal(c.quant.format, QL_FORMAT_GPTQ);
  assert_int_equal(c.quant.group, 0);
  assert_int_equal(c.quant.symmetric, 1);

  put("quantize_config.json", "{\"bits\":3,\"group_size\":64,\"format\":\"gptq\",\"sym\":true}");
  c = must_read("{" LLAMA "}");
  assert_int_equal(c.quant.bits, 3);
  assert_int_equal(c.quant.group, 64);
  remove_tree(scratch_path("quantize_config.json"));
}

static void test_dynamic(void **state)
{
  (void)state;
  qle_config c =
      must_read("{" LLAMA ",\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":4,"
                "\"group_size\":128,\"dynamic\":{"
                "\"-:model\\\\.layers\\\\.0\\\\..*\":{},"
                "\"+:.*\\\\.down_proj$\":{\"bits\":8,\"group_size\":32,\"sym\":false},"
                "\".*\\\\.(down|up)_proj\":{\"bits\":3,\"group_size\":-1,\"desc_act\":true}}}}");
  assert_int_equal(quant_of(&c, "model.layers.0.mlp.down_proj").format, QL_FORMAT_NONE);
  qle_quant q = quant_of(&c, "model.layers.1.mlp.down_proj");
  assert_int_equal(q.format, QL_FORMAT_GPTQ);
  assert_int_equal(q.bits, 8);
  assert_int_equal(q.group, 32);
  assert_int_equal(q.symmetric, 0);
  q = quant_of(&c, "model.layers.1.mlp.up_proj");
  assert_int_equal(q.bits, 3);
  assert_int_equal(q.group, 0);
  assert_int_equal(q.act_order, 1);
  q = quant_of(&c, "model.layers.10.self_attn.q_proj");
  assert_int_equal(q.bits, 4);
  assert_int_equal(q.group, 128);
  /* Rules match from the beginning of the name, as Python's re.match does. */
  q = quant_of(&c, "x.model.layers.0.self_attn.q_proj");
  assert_int_equal(q.format, QL_FORMAT_GPTQ);
  qle_config_free(&c);
  assert_null(c.rules);
}

/* Backtracking without end is cut off, not waited for. */
static void test_catastrophic_rule(void **state)
{
  (void)state;
  qle_config c = must_read("{" LLAMA ",\"quantization_config\":{\"quant_method\":\"gptq\","
                           "\"bits\":4,\"dynamic\":{\"(a+)+$\":{}}}}");
  qle_quant quant;
  ql_error error = QL_ERROR_INIT;
  assert_int_equal(
      qle_config_layer_quant(&c, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!", &quant, &error),
      QL_STATUS_FORMAT);
  qle_config_free(&c);
}

typedef struct lie {
  const char *text; /* of config.json */
  ql_status status;
  const char *key; /* in the message */
  const char *value;
} lie;

#define Q4 "\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":4"
#define NO_HIDDEN \
  "\"architectures\":[\"LlamaForCausalLM\"],\"intermediate_size\":96,\"num_hidden_layers\":4," \
  "\"num_attention_heads\":8,\"vocab_size\":100"
#define NO_HEADS \
  "\"architectures\":[\"LlamaForCausalLM\"],\"hidden_size\":64,\"intermediate_size\":96," \
  "\"num_hidden_layers\":4,\"vocab_size\":100"
#define NO_LAYERS \
  "\"architectures\":[\"LlamaForCausalLM\"],\"hidden_size\":64,\"intermediate_size\":96," \
  "\"num_attention_heads\":8,\"vocab_size\":100"
#define NO_VOCAB \
  "\"architectures\":[\"LlamaForCausalLM\"],\"hidden_size\":64,\"intermediate_size\":96," \
  "\"num_attention_heads\":8,\"num_hidden_layers\":4"
#define QWEN "\"model_type\":\"qwen2\",\"num_key_value_heads\":2," SIZES

static const lie lies[] = {
    {"", QL_STATUS_FORMAT, "config.json", ""},
    {"{", QL_STATUS_FORMAT, "config.json", "line"},
    {"[1]", QL_STATUS_FORMAT, "config.json", "object"},
    {"{" LLAMA ",\"vocab_size\":100}", QL_STATUS_FORMAT, "vocab_size", "duplicate"},
    {"{" SIZES "}", QL_STATUS_FORMAT, "architectures", "missing"},
    {"{\"architectures\":[\"GPT2LMHeadModel\"]," SIZES "}", QL_STATUS_UNSUPPORTED, "architectures",
     "GPT2LMHeadModel"},
    {"{\"architectures\":\"LlamaForCausalLM\"," SIZES "}", QL_STATUS_FORMAT, "architectures",
     "LlamaForCausalLM"},
    {"{\"architectures\":[]," SIZES "}", QL_STATUS_FORMAT, "architectures", "[]"},
    {"{\"architectures\":[7]," SIZES "}", QL_STATUS_FORMAT, "architectures", "[7]"},
    {"{\"model_type\":\"gpt2\"," SIZES "}", QL_STATUS_UNSUPPORTED, "model_type", "gpt2"},
    {"{\"model_type\":3," SIZES "}", QL_STATUS_FORMAT, "model_type", "3"},
    {"{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"qwen2\"," SIZES "}",
     QL_STATUS_FORMAT, "model_type", "qwen2"},
    {"{" NO_HIDDEN "}", QL_STATUS_FORMAT, "hidden_size", "missing"},
    {"{" NO_HIDDEN ",\"hidden_size\":0}", QL_STATUS_FORMAT, "hidden_size", "0"},
    {"{" NO_HIDDEN ",\"hidden_size\":-64}", QL_STATUS_FORMAT, "hidden_size", "-64"},
    {"{" NO_HIDDEN ",\"hidden_size\":64.0}", QL_STATUS_FORMAT, "hidden_size", "64.0"},
    {"{" NO_HIDDEN ",\"hidden_size\":\"64\"}", QL_STATUS_FORMAT, "hidden_size", "\"64\""},
    {"{" NO_HIDDEN ",\"hidden_size\":[64]}", QL_STATUS_FORMAT, "hidden_size", "[64]"},
    {"{" NO_HIDDEN ",\"hidden_size\":9223372036854775807}", QL_STATUS_FORMAT, "hidden_size",
     "9223372036854775807"},
    {"{" NO_HIDDEN ",\"hidden_size\":92233720368547758070}", QL_STATUS_FORMAT, "config.json", ""},
    {"{" NO_HIDDEN ",\"hidden_size\":63}", QL_STATUS_FORMAT, "hidden_size", "63"},
    {"{" NO_HEADS ",\"num_attention_heads\":0}", QL_STATUS_FORMAT, "num_attention_heads", "0"},
    {"{" NO_HEADS ",\"num_attention_heads\":true}", QL_STATUS_FORMAT, "num_attention_heads",
     "true"},
    {"{" NO_HEADS ",\"num_attention_heads\":64}", QL_STATUS_FORMAT, "head_dim", "1"},
    {"{" LLAMA ",\"num_key_value_heads\":3}", QL_STATUS_FORMAT, "num_key_value_heads", "3"},
    {"{" LLAMA ",\"num_key_value_heads\":16}", QL_STATUS_FORMAT, "num_key_value_heads", "16"},
    {"{" LLAMA ",\"num_key_value_heads\":0}", QL_STATUS_FORMAT, "num_key_value_heads", "0"},
    {"{" LLAMA ",\"head_dim\":7}", QL_STATUS_FORMAT, "head_dim", "7"},
    {"{" LLAMA ",\"head_dim\":1000000000}", QL_STATUS_FORMAT, "head_dim", "1000000000"},
    {"{" NO_LAYERS ",\"num_hidden_layers\":4294967296}", QL_STATUS_FORMAT, "num_hidden_layers",
     "4294967296"},
    {"{" NO_VOCAB ",\"vocab_size\":2147483648}", QL_STATUS_FORMAT, "vocab_size", "2147483648"},
    {"{" LLAMA ",\"max_position_embeddings\":0}", QL_STATUS_FORMAT, "max_position_embeddings", "0"},
    {"{" LLAMA ",\"max_position_embeddings\":1e300}", QL_STATUS_FORMAT, "max_position_embeddings",
     "1e300"},
    {"{" LLAMA ",\"rms_norm_eps\":0}", QL_STATUS_FORMAT, "rms_norm_eps", "0"},
    {"{" LLAMA ",\"rms_norm_eps\":\"small\"}", QL_STATUS_FORMAT, "rms_norm_eps", "small"},
    {"{" LLAMA ",\"hidden_act\":\"gelu\"}", QL_STATUS_UNSUPPORTED, "hidden_act", "gelu"},
    {"{" LLAMA ",\"tie_word_embeddings\":1}", QL_STATUS_FORMAT, "tie_word_embeddings", "1"},
    {"{" LLAMA ",\"attention_bias\":\"no\"}", QL_STATUS_FORMAT, "attention_bias", "no"},
    {"{" LLAMA ",\"rope_theta\":0}", QL_STATUS_FORMAT, "rope_theta", "0"},
    {"{" LLAMA ",\"rope_theta\":-10000}", QL_STATUS_FORMAT, "rope_theta", "-10000"},
    {"{" LLAMA ",\"rope_scaling\":7}", QL_STATUS_FORMAT, "rope_scaling", "7"},
    {"{" LLAMA ",\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":2.0}}", QL_STATUS_UNSUPPORTED,
     "rope_scaling.type", "dynamic"},
    {"{" LLAMA ",\"rope_scaling\":{\"rope_type\":\"linear\"}}", QL_STATUS_FORMAT,
     "rope_scaling.factor", "missing"},
    {"{" LLAMA ",\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":0}}", QL_STATUS_FORMAT,
     "rope_scaling.factor", "0"},
    {"{" LLAMA ",\"rope_parameters\":{\"rope_type\":\"llama3\",\"factor\":8}}", QL_STATUS_FORMAT,
     "rope_parameters.low_freq_factor", "missing"},
    {"{" LLAMA ",\"rope_parameters\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":4,"
     "\"high_freq_factor\":4,\"original_max_position_embeddings\":8192}}",
     QL_STATUS_FORMAT, "high_freq_factor", "4"},
    {"{" LLAMA ",\"rope_parameters\":{\"rope_type\":\"yarn\",\"factor\":4,"
     "\"original_max_position_embeddings\":0}}",
     QL_STATUS_FORMAT, "original_max_position_embeddings", "0"},
    {"{" LLAMA ",\"rope_parameters\":{\"full_attention\":{\"rope_theta\":1e6}}}",
     QL_STATUS_UNSUPPORTED, "full_attention", "1000000.0"},
    {"{" LLAMA ",\"partial_rotary_factor\":0.5}", QL_STATUS_UNSUPPORTED, "partial_rotary_factor",
     "0.5"},
    {"{" QWEN ",\"use_sliding_window\":true,\"sliding_window\":0}", QL_STATUS_FORMAT,
     "sliding_window", "0"},
    {"{" QWEN ",\"layer_types\":[\"full_attention\"]}", QL_STATUS_FORMAT, "layer_types", "4"},
    {"{" QWEN ",\"layer_types\":[\"full_attention\",\"full_attention\",1,\"full_attention\"]}",
     QL_STATUS_UNSUPPORTED, "layer_types", "kind 2"},
    {"{" LLAMA ",\"eos_token_id\":100}", QL_STATUS_FORMAT, "eos_token_id", "100"},
    {"{" LLAMA ",\"eos_token_id\":[1,-1]}", QL_STATUS_FORMAT, "eos_token_id", "[1,-1]"},
    {"{" LLAMA ",\"bos_token_id\":\"a\"}", QL_STATUS_FORMAT, "bos_token_id", "a"},
    {"{" LLAMA ",\"quantization_config\":[]}", QL_STATUS_FORMAT, "quantization_config", "[]"},
    {"{" LLAMA ",\"quantization_config\":{\"bits\":4}}", QL_STATUS_FORMAT,
     "quantization_config.quant_method", "missing"},
    {"{" LLAMA ",\"quantization_config\":{\"quant_method\":\"awq\",\"bits\":4}}",
     QL_STATUS_UNSUPPORTED, "quant_method", "awq"},
    {"{" LLAMA ",\"quantization_config\":{\"quant_method\":\"gptq\"}}", QL_STATUS_FORMAT, "bits",
     "missing"},
    {"{" LLAMA ",\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":5}}",
     QL_STATUS_UNSUPPORTED, "bits", "5"},
    {"{" LLAMA ",\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":64}}",
     QL_STATUS_FORMAT, "bits", "64"},
    {"{" LLAMA "," Q4 ",\"group_size\":0}}", QL_STATUS_FORMAT, "group_size", "0"},
    {"{" LLAMA "," Q4 ",\"group_size\":-2}}", QL_STATUS_FORMAT, "group_size", "-2"},
    {"{" LLAMA "," Q4 ",\"sym\":1}}", QL_STATUS_FORMAT, "sym", "1"},
    {"{" LLAMA "," Q4 ",\"checkpoint_format\":\"marlin\"}}", QL_STATUS_UNSUPPORTED,
     "checkpoint_format", "marlin"},
    {"{" LLAMA "," Q4 ",\"pack_dtype\":\"int64\"}}", QL_STATUS_UNSUPPORTED, "pack_dtype", "int64"},
    {"{" LLAMA "," Q4 ",\"dynamic\":[]}}", QL_STATUS_FORMAT, "dynamic", "[]"},
    {"{" LLAMA "," Q4 ",\"dynamic\":{\"(\":{}}}}", QL_STATUS_FORMAT, "dynamic.(", "regular"},
    {"{" LLAMA "," Q4 ",\"dynamic\":{\"a\":{},\"b\":{\"bits\":1}}}}", QL_STATUS_FORMAT, "bits",
     "1"},
    {"{" LLAMA "," Q4 ",\"dynamic\":{\"a\":4}}}", QL_STATUS_FORMAT, "dynamic.a", "4"},
};

static void test_lies(void **state)
{
  (void)state;
  for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
    qle_config config, untouched;
    memset(&config, 0x5a, sizeof config);
    memcpy(&untouched, &config, sizeof config);
    ql_error error = QL_ERROR_INIT;
    const ql_status status = read_text(lies[i].text, &config, &error);
    if (status != lies[i].status || strstr(error.text, lies[i].key) == NULL ||
        strstr(error.text, lies[i].value) == NULL || strstr(error.text, "config.json") == NULL ||
        strstr(error.file, "config.json") == NULL)
      fail_msg("lie %zu, %s\n  status %d: %s", i, lies[i].text, (int)status, error.text);
    assert_memory_equal(&config, &untouched, sizeof config);
  }
}

static void test_deep_and_large_files(void **state)
{
  (void)state;
  qle_config config;
  ql_error error = QL_ERROR_INIT;
  static char deep[200001];
  memset(deep, '[', 100000);
  memset(deep + 100000, ']', 100000);
  assert_int_equal(read_text(deep, &config, &error), QL_STATUS_FORMAT);
  assert_non_null(strstr(error.text, "nested"));
  const size_t size = ((size_t)16 << 20) + 1;
  char *large = malloc(size);
  assert_non_null(large);
  memset(large, ' ', size);
  write_bytes(scratch_path("config.json"), large, size);
  free(large);
  assert_int_equal(qle_config_read(scratch_dir(), &config, &error), QL_STATUS_FORMAT);
  assert_non_null(strstr(error.text, "16777217"));
}

static void test_no_file(void **state)
{
  (void)state;
  qle_config config;
  ql_error error = QL_ERROR_INIT;
  assert_int_equal(qle_config_read(scratch_path("nowhere"), &config, &error), QL_STATUS_NOT_FOUND);
  assert_non_null(strstr(error.file, "nowhere/config.json"));
  assert_int_equal(qle_config_read(scratch_path("nowhere"), &config, NULL), QL_STATUS_NOT_FOUND);
}

static int clean(void **state)
{
  (void)state;
  scratch_remove();
  return 0;
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_llama),
      cmocka_unit_test(test_defaults_of_classes),
      cmocka_unit_test(test_llama_biases),
      cmocka_unit_test(test_windows),
      cmocka_unit_test(test_rope_kinds),
      cmocka_unit_test(test_generation_config),
      cmocka_unit_test(test_quantization_config),
      cmocka_unit_test(test_dynamic),
      cmocka_unit_test(test_catastrophic_rule),
      cmocka_unit_test(test_lies),
      cmocka_unit_test(test_deep_and_large_files),
      cmocka_unit_test(test_no_file),
  };
  return cmocka_run_group_tests(tests, NULL, clean);
}
