// A C face on simdjson: strict JSON, read value by value without a tree and without a copy.
//
// simdjson's first stage checks UTF-8 and control characters and finds every token with SIMD instructions; the walk
// over these tokens is
// ours, because it must be strict (simdjson's on-demand front end does not check what it skips), must give byte
// positions, and must
// need no padding behind the text, so that a request body is never copied to be read.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Member names that ProviderWire asks for; every other name is TG_KEY_OTHER.
#define TG_KEYS(X) \
  X(model) X(stream) X(stream_options) X(include_usage) X(max_tokens) X(max_completion_tokens) X(max_output_tokens) \
  X(maxOutputTokens) X(generationConfig) X(generation_config) X(candidateCount) X(n) X(best_of) X(service_tier) \
  X(prompt_cache_key) X(metadata) X(user_id) X(user) X(safety_identifier) X(previous_response_id) X(conversation) \
  X(prompt) X(background) X(messages) X(input) X(contents) X(content) X(parts) X(text) X(texts) X(inputs) X(tools) \
  X(tool_choice) X(functions) X(response_format) X(output_config) X(parameters) X(input_schema) X(arguments) \
  X(type) X(role) X(id) X(call_id) X(tool_use_id) X(tool_call_id) X(signature) X(thoughtSignature) \
  X(thought_signature) X(encrypted_content) X(data) X(source) X(image_url) X(url) X(detail) X(input_audio) \
  X(inlineData) X(inline_data) X(fileData) X(file_data) X(fileUri) X(file_uri) X(file_id) X(file_url) X(file) \
  X(mimeType) X(mime_type) X(media_type) X(format) X(cache_control) X(documents) X(query) X(image) X(images) \
  X(usage) X(response) X(message) X(error) X(errors) X(choices) X(delta) X(finish_reason) X(object) X(code) X(status) \
  X(details) X(error_code) X(retryDelay) X(retry_after) X(detail_code) X(reason) X(x_groq) X(meta) X(billed_units) \
  X(tokens) X(usageMetadata) X(usage_metadata) X(modelVersion) X(serviceTier) X(requests) X(params) \
  X(prompt_tokens) X(completion_tokens) X(total_tokens) X(input_tokens) X(output_tokens) X(prompt_tokens_details) \
  X(completion_tokens_details) X(input_tokens_details) X(input_token_details) X(output_tokens_details) \
  X(cached_tokens) X(cache_write_tokens) X(reasoning_tokens) X(thinking_tokens) X(cache_creation_input_tokens) \
  X(cache_read_input_tokens) X(cache_creation) X(ephemeral_5m_input_tokens) X(ephemeral_1h_input_tokens) \
  X(iterations) X(server_tool_use) X(web_search_requests) X(prompt_cache_hit_tokens) X(prompt_cache_miss_tokens) \
  X(cost) X(cost_in_usd_ticks) X(promptTokenCount) X(cachedContentTokenCount) X(candidatesTokenCount) \
  X(thoughtsTokenCount) X(toolUsePromptTokenCount) X(totalTokenCount) X(prompt_eval_count) X(eval_count) X(done) \
  X(seconds) X(search_units) X(audio_tokens) X(image_tokens) X(speed) X(inference_geo) X(stop_reason) \
  X(finishReason) X(candidates) X(output_text) X(partial_json) X(thinking) X(reasoning) X(reasoning_content) \
  X(tool_calls) X(function) X(name) X(output) X(summary) X(refusal) X(incomplete_details) X(part) X(item) \
  X(promptFeedback) X(blockReason) X(functionCall) X(args) X(models) \
  X(cache_creation_tokens) X(cost_details) X(upstream_inference_cost) X(is_byok) X(result) X(body) X(output_file_id) \
  X(processing_status) X(fallbacks) X(inlinedResponses) X(responsesFile) X(n_predict) X(max_new_tokens) \
  X(completion) X(options) X(num_predict) X(ttl) X(system) X(instructions) X(systemInstruction) X(system_instruction)

enum tg_json_key {
  TG_KEY_NONE = 0,
  TG_KEY_OTHER = 1,
#define TG_KEY_CASE(name) TG_KEY_##name,
  TG_KEYS(TG_KEY_CASE)
#undef TG_KEY_CASE
  TG_KEY_COUNT
};



enum tg_json_kind {
  TG_JSON_END = 0,  // the text is over and was valid
  TG_JSON_ERROR = 1,  // see tg_json_error
  TG_JSON_OBJECT_BEGIN,
  TG_JSON_OBJECT_END,
  TG_JSON_ARRAY_BEGIN,
  TG_JSON_ARRAY_END,
  TG_JSON_STRING,
  TG_JSON_NUMBER,  // not given for an array's elements: the array's end counts them
  TG_JSON_TRUE,
  TG_JSON_FALSE,
  TG_JSON_NULL
};

typedef struct tg_json_token {
  uint8_t kind;
  // Strings: whether `start..<end` holds escapes.
  bool has_escapes;
  // The member's name; TG_KEY_NONE for elements and the root. An end has its begin's.
  uint16_t key;
  // The name of the innermost container around the value.
  uint16_t parent;
  // Containers around the value.
  uint16_t depth;
  // Byte positions in the text: of a string without its quotes, of a container's bracket, of a scalar.
  size_t start;
  size_t end;
  // Where the member's name lies, without its quotes.
  size_t key_start;
  size_t key_end;
  // Strings: bytes of UTF-8 once escapes are resolved.
  size_t decoded_length;
  // Ends: members or elements. Array ends: elements that are numbers in `numbers`.
  size_t count;
  size_t numbers;
} tg_json_token;

typedef struct tg_json tg_json;

// A set of enum tg_json_key, one bit each.
typedef struct tg_json_keys {
  uint64_t words[4];
} tg_json_keys;

// NULL where memory is short.
tg_json *tg_json_make(void);
void tg_json_free(tg_json *json);

// Splits texts into tokens so many bytes at a time (1 MiB from the start), and more only where a string or number is longer.
void tg_json_set_window(tg_json *json, size_t bytes);
// Bytes that the list of tokens takes, used or not.
size_t tg_json_list_bytes(const tg_json *json);
// Starts on a text, which must stay unchanged until the walk is over. False: see tg_json_error.
bool tg_json_begin(tg_json *json, const uint8_t *text, size_t length);
// Gives the next token and its kind; END and ERROR repeat.
uint8_t tg_json_next(tg_json *json, tg_json_token *token);
// The same inside an object, for members with a name in `wanted`; all others are skipped, unchecked but for balance.
uint8_t tg_json_next_of(tg_json *json, tg_json_token *token, const tg_json_keys *wanted);
// Skips the rest of the innermost open container, unchecked but for balance; its end is not given.
bool tg_json_skip(tg_json *json);

// What is wrong, and the byte at which that shows.
const char *tg_json_error(const tg_json *json);
size_t tg_json_error_position(const tg_json *json);
// Gives back memory that only large texts need.
void tg_json_trim(tg_json *json, size_t keep);

// Writes a string's content with escapes resolved; half surrogates become U+FFFD. Returns the bytes written, at most
// `capacity`.
size_t tg_json_unescape(const uint8_t *raw, size_t length, uint8_t *out, size_t capacity);

// A number by which texts are told apart: of their length, and of all bytes of a text up to 64 KiB, or the first and last 32 KiB.
uint64_t tg_text_print(const uint8_t *text, size_t length);

// The first place of `wanted` in `bytes`, or -1. (The C library's memmem is hidden from Swift.)
ptrdiff_t tg_find(const uint8_t *bytes, size_t length, const uint8_t *wanted, size_t wanted_length);
ptrdiff_t tg_find_byte(const uint8_t *bytes, size_t length, uint8_t wanted);

#ifdef __cplusplus
}
#endif
