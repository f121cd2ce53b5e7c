// The walk over simdjson's token positions; see CSimdjson.h.
#include "CSimdjson.h"
#include "HexQuad.h"

#include <simdjson.h>

#include <cstring>
#include <memory>
#include <new>
#include <vector>

namespace {

constexpr size_t depthLimit = 512;
constexpr size_t longestKey = 40;
// Texts are split into tokens window by window, since the list of tokens takes four bytes for each: of a text that is all brackets and
// commas it would be four times the text. Most texts are one window.
constexpr size_t usualWindow = 1 << 20;

struct Name {
  const char *text;
  uint8_t length;
  uint16_t id;
};

constexpr Name names[] = {
#define TG_KEY_ROW(name) {#name, sizeof(#name) - 1, TG_KEY_##name},
    TG_KEYS(TG_KEY_ROW)
#undef TG_KEY_ROW
};
constexpr size_t nameCount = sizeof(names) / sizeof(names[0]);

static_assert(TG_KEY_COUNT <= 256, "sets of names have 256 bits");
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the first byte of a word is its lowest");

// The first eight bytes of a name as a number; shorter names are filled with zeros. `room` bytes may be read.
uint64_t prefix(const uint8_t *text, size_t length, size_t room) {
  uint64_t word = 0;
  if (room >= 8) {
    std::memcpy(&word, text, 8);
    if (length < 8) word &= (uint64_t{1} << (8 * length)) - 1;
  } else {
    for (size_t i = 0; i < length; i++) word |= static_cast<uint64_t>(text[i]) << (8 * i);
  }
  return word;
}

// Names by a hash of length and first eight bytes, so that most lookups look at one place.
struct NameTable {
  struct Slot {
    uint64_t word;
    const char *text;
    uint8_t length;
    uint16_t id;
  };
  static constexpr size_t size = 1024;
  Slot slots[size] = {};

  static size_t place(uint64_t word, size_t length) {
    return static_cast<size_t>(((word + length) * 0x9E3779B97F4A7C15u) >> 54);
  }

  NameTable() {
    for (const Name &name : names) {
      uint64_t word = prefix(reinterpret_cast<const uint8_t *>(name.text), name.length, name.length);
      size_t at = place(word, name.length);
      while (slots[at].text) at = (at + 1) % size;
      slots[at] = Slot{word, name.text, name.length, name.id};
    }
  }

  // `room` bytes may be read, at least `length`.
  uint16_t find(const uint8_t *text, size_t length, size_t room) const {
    uint64_t word = prefix(text, length, room);
    for (size_t at = place(word, length); slots[at].text; at = (at + 1) % size) {
      const Slot &slot = slots[at];
      if (slot.word != word || slot.length != length) continue;
      if (length <= 8 || std::memcmp(slot.text + 8, text + 8, length - 8) == 0) return slot.id;
    }
    return TG_KEY_OTHER;
  }
};

const NameTable table;

// The first backslash in `from..<stop`, or null; bytes up to `limit` may be read. Short strings are the most; for them a call would cost
// more than the search.
const uint8_t *findSlash(const uint8_t *from, const uint8_t *stop, const uint8_t *limit) {
  if (stop - from > 64) {
    return static_cast<const uint8_t *>(std::memchr(from, '\\', static_cast<size_t>(stop - from)));
  }
  constexpr uint64_t low = 0x0101010101010101u, high = 0x8080808080808080u;
  for (; stop - from >= 8; from += 8) {
    uint64_t word;
    std::memcpy(&word, from, 8);
    word ^= low * '\\';
    if ((word - low) & ~word & high) break;
  }
  // Less than eight bytes are left: without a backslash among them and those behind, there is nothing to search.
  if (stop - from < 8 && limit - from >= 8) {
    uint64_t word;
    std::memcpy(&word, from, 8);
    word ^= low * '\\';
    if (!((word - low) & ~word & high)) return nullptr;
  }
  for (; from < stop; from++) {
    if (*from == '\\') return from;
  }
  return nullptr;
}

bool isSpace(uint8_t byte) { return byte == ' ' || byte == '\n' || byte == '\r' || byte == '\t'; }
bool isOperator(uint8_t byte) {
  return byte == ',' || byte == ':' || byte == '[' || byte == ']' || byte == '{' || byte == '}';
}
struct Frame {
  bool isObject;
  uint16_t key;
  size_t count;
  size_t numbers;
};

}  // namespace

struct tg_json {
  std::unique_ptr<simdjson::internal::dom_parser_implementation> implementation;
  const uint8_t *text = nullptr;
  size_t length = 0;
  size_t windowLimit = usualWindow;
  // The window under the walk, and the positions of its tokens counted from its start.
  size_t windowStart = 0;
  size_t windowEnd = 0;
  const uint32_t *index = nullptr;
  size_t indexCount = 0;
  size_t at = 0;
  size_t depth = 0;
  bool isStarted = false;
  const char *error = nullptr;
  size_t errorPosition = 0;
  // Grows with the deepest text so far: most need no more than ten.
  std::vector<Frame> frames;

  uint8_t fail(const char *what, size_t position) {
    if (!error) {
      error = what;
      errorPosition = position < length ? position : length;
    }
    return TG_JSON_ERROR;
  }

  // True where there is a current token; splits the next window where the last one is used up.
  bool has() { return at < indexCount || nextWindow(); }
  // Where the current token is.
  size_t here() const { return windowStart + index[at]; }

  // No token lies across the end of a window.
  size_t tokenEnd() const { return at + 1 < indexCount ? windowStart + index[at + 1] : windowEnd; }

  // Behind the string whose quote is at `start`; `length` where it does not end.
  size_t stringEnd(size_t start) const {
    size_t from = start + 1;
    while (from < length) {
      auto found = static_cast<const uint8_t *>(std::memchr(text + from, '"', length - from));
      if (!found) break;
      size_t quote = static_cast<size_t>(found - text), slash = quote;
      while (slash > start + 1 && text[slash - 1] == '\\') slash--;
      if ((quote - slash) % 2 == 0) return quote + 1;
      from = quote + 1;
    }
    return length;
  }

  // Where the window that starts at `start` ends: at most `windowLimit` on, but behind a string or number that is longer than that, and
  // always where no token goes on.
  size_t findWindowEnd(size_t start) const {
    if (length - start <= windowLimit) return length;
    size_t wanted = start + windowLimit, from = start, best = start;
    while (from < wanted) {
      auto found = static_cast<const uint8_t *>(std::memchr(text + from, '"', wanted - from));
      if (!found) break;
      size_t quote = static_cast<size_t>(found - text), end = stringEnd(quote);
      if (end > wanted && quote > start && (isOperator(text[quote - 1]) || isSpace(text[quote - 1]))) return quote;
      from = end;
    }
    // Outside of strings from here on.
    for (size_t i = wanted; i > from; i--) {
      if (isOperator(text[i - 1]) || isSpace(text[i - 1])) {
        best = i;
        break;
      }
    }
    if (best > start) return best;
    for (size_t i = from > wanted ? from : wanted; i < length; i++) {
      if (isOperator(text[i]) || isSpace(text[i])) return i + 1;
      if (text[i] == '"') return i;
    }
    return length;
  }

  // Splits the next window that holds a token; false at the end of the text, and where something is wrong with it.
  bool nextWindow() {
    while (!error && windowEnd < length) {
      windowStart = windowEnd;
      windowEnd = findWindowEnd(windowStart);
      at = indexCount = 0;
      size_t size = windowEnd - windowStart;
      if (!implementation || implementation->capacity() < size) {
        size_t capacity = size < 4096 ? 4096 : size;
        simdjson::error_code code = implementation
            ? implementation->set_capacity(capacity)
            : simdjson::get_active_implementation()->create_dom_parser_implementation(capacity, 1, implementation);
        if (code) {
          implementation.reset();
          fail("out of memory", windowStart);
          return false;
        }
      }
      simdjson::error_code code = implementation->stage1(text + windowStart, size, simdjson::stage1_mode::regular);
      if (code == simdjson::EMPTY) continue;
      if (code) {
        locate(code);
        return false;
      }
      index = implementation->structural_indexes.get();
      indexCount = implementation->n_structural_indexes;
      if (indexCount > 0) return true;
    }
    return false;
  }

  // Where the scalar at `start` ends: the next token, less the white space before it.
  size_t scalarEnd(size_t start) const {
    size_t end = tokenEnd();
    while (end > start && isSpace(text[end - 1])) end--;
    return end;
  }

  // Reads the string whose quote is at `start`; gives its content and decoded length.
  bool readString(size_t start, size_t &contentEnd, size_t &decoded, bool &hasEscapes) {
    size_t end = scalarEnd(start);
    if (end < start + 2 || text[end - 1] != '"') {
      fail("string is not closed", start);
      return false;
    }
    contentEnd = end - 1;
    const uint8_t *from = text + start + 1;
    const uint8_t *stop = text + contentEnd;
    decoded = static_cast<size_t>(stop - from);
    hasEscapes = false;
    while (from < stop) {
      const uint8_t *slash = findSlash(from, stop, text + length);
      if (!slash) break;
      hasEscapes = true;
      size_t position = static_cast<size_t>(slash - text);
      if (slash + 1 >= stop) {
        fail("string is not closed", start);
        return false;
      }
      switch (slash[1]) {
        case '"': case '\\': case '/': case 'b': case 'f': case 'n': case 'r': case 't':
          decoded -= 1;
          from = slash + 2;
          break;
        case 'u': {
          int32_t unit = stop - slash >= 6 ? hexQuad(slash + 2) : -1;
          if (unit < 0) {
            fail("bad \\u escape in string", position);
            return false;
          }
          from = slash + 6;
          if (unit >= 0xD800 && unit < 0xDC00 && stop - from >= 6 && from[0] == '\\' && from[1] == 'u') {
            int32_t low = hexQuad(from + 2);
            if (low >= 0xDC00 && low < 0xE000) {
              decoded -= 8;  // twelve bytes for four
              from += 6;
              break;
            }
          }
          decoded -= unit < 0x80 ? 5 : unit < 0x800 ? 4 : 3;
          break;
        }
        default:
          fail("bad escape in string", position);
          return false;
      }
    }
    return true;
  }

  bool isNumber(size_t start, size_t end) const {
    const uint8_t *p = text + start, *stop = text + end;
    if (p < stop && *p == '-') p++;
    if (p >= stop || !isDigit(*p)) return false;
    if (*p == '0') {
      p++;
    } else {
      while (p < stop && isDigit(*p)) p++;
    }
    if (p < stop && *p == '.') {
      p++;
      if (p >= stop || !isDigit(*p)) return false;
      while (p < stop && isDigit(*p)) p++;
    }
    if (p < stop && (*p == 'e' || *p == 'E')) {
      p++;
      if (p < stop && (*p == '+' || *p == '-')) p++;
      if (p >= stop || !isDigit(*p)) return false;
      while (p < stop && isDigit(*p)) p++;
    }
    return p == stop;
  }

  // Only run when simdjson found something wrong with the bytes: finds where.
  void locate(simdjson::error_code code) {
    bool inString = false;
    for (size_t i = 0; i < length; i++) {
      uint8_t byte = text[i];
      if (code == simdjson::UTF8_ERROR) {
        size_t more = byte < 0x80 ? 0 : byte >= 0xC2 && byte < 0xE0 ? 1 : byte >= 0xE0 && byte < 0xF0 ? 2
            : byte >= 0xF0 && byte < 0xF5 ? 3 : 9;
        bool bad = more == 9 || i + more >= length + (more == 0 ? 1 : 0);
        if (!bad && more > 0) {
          uint8_t low = byte == 0xE0 ? 0xA0 : byte == 0xF0 ? 0x90 : 0x80;
          uint8_t high = byte == 0xED ? 0x9F : byte == 0xF4 ? 0x8F : 0xBF;
          bad = text[i + 1] < low || text[i + 1] > high;
          for (size_t k = 2; !bad && k <= more; k++) bad = (text[i + k] & 0xC0) != 0x80;
        }
        if (bad) {
          fail("not UTF-8", i);
          return;
        }
        i += more;
      } else if (inString && byte == '\\') {
        i++;
      } else if (byte == '"') {
        inString = !inString;
      } else if (inString && byte < 0x20) {
        fail("control character in string", i);
        return;
      }
    }
    fail(code == simdjson::UTF8_ERROR ? "not UTF-8" : inString ? "string is not closed" : "not JSON", length);
  }
};

tg_json *tg_json_make(void) { return new (std::nothrow) tg_json; }
void tg_json_free(tg_json *json) { delete json; }
void tg_json_set_window(tg_json *json, size_t bytes) { json->windowLimit = bytes < 1 ? 1 : bytes; }

size_t tg_json_list_bytes(const tg_json *json) {
  return json->implementation ? 4 * json->implementation->capacity() : 0;
}

bool tg_json_begin(tg_json *json, const uint8_t *text, size_t length) {
  json->text = text;
  json->length = length;
  json->at = json->depth = json->indexCount = json->windowStart = json->windowEnd = 0;
  json->isStarted = false;
  json->error = nullptr;
  json->errorPosition = 0;
  if (length == 0) {
    json->fail("empty", 0);
    return false;
  }
  if (length > 0xFFFFFFF0) {
    json->fail("larger than 4 GiB", length);
    return false;
  }
  if (!json->nextWindow()) {
    json->fail("empty", 0);
    return false;
  }
  return true;
}

namespace {

// Skips the value at the current token; false where the text ends in it.
bool skipValue(tg_json *json) {
  size_t open = 0;
  for (; json->has(); json->at++) {
    switch (json->text[json->here()]) {
      case '{': case '[':
        open++;
        continue;
      case '}': case ']':
        if (open <= 1) break;
        open--;
        continue;
      default:
        if (open > 0) continue;
        break;
    }
    json->at++;
    return true;
  }
  return false;
}

template <bool isPicky>
uint8_t nextToken(tg_json *json, tg_json_token *token, const tg_json_keys *wanted) {
  if (json->error) return token->kind = TG_JSON_ERROR;
  const uint8_t *text = json->text;
  for (;;) {
    if (json->depth == 0 && json->isStarted) {
      if (json->has()) return token->kind = json->fail("more text after the value", json->here());
      return token->kind = json->error ? TG_JSON_ERROR : TG_JSON_END;
    }
    if (!json->has()) return token->kind = json->fail("text ends too early", json->length);
    size_t position = json->here();
    uint16_t key = TG_KEY_NONE;
    token->key_start = token->key_end = position;
    Frame *frame = json->depth ? &json->frames[json->depth - 1] : nullptr;
    if (frame) {
      uint8_t close = frame->isObject ? '}' : ']';
      if (text[position] == close) {
        token->kind = frame->isObject ? TG_JSON_OBJECT_END : TG_JSON_ARRAY_END;
        token->key = frame->key;
        token->parent = json->depth > 1 ? json->frames[json->depth - 2].key : static_cast<uint16_t>(TG_KEY_NONE);
        token->depth = static_cast<uint16_t>(json->depth - 1);
        token->start = position;
        token->end = position + 1;
        token->count = frame->count;
        token->numbers = frame->numbers;
        json->depth--;
        json->at++;
        return token->kind;
      }
      if (frame->count > 0) {
        if (text[position] != ',') {
          return token->kind = json->fail(frame->isObject ? "expected , or }" : "expected , or ]", position);
        }
        json->at++;
        if (!json->has()) return token->kind = json->fail("text ends too early", json->length);
        position = json->here();
      }
      if (frame->isObject) {
        if (text[position] != '"') return token->kind = json->fail("expected a member name", position);
        size_t contentEnd, decoded;
        bool hasEscapes;
        if (!json->readString(position, contentEnd, decoded, hasEscapes)) return token->kind = TG_JSON_ERROR;
        token->key_start = position + 1;
        token->key_end = contentEnd;
        if (!hasEscapes) {
          key = table.find(text + position + 1, decoded, json->length - position - 1);
        } else if (decoded <= longestKey) {
          uint8_t name[longestKey] = {};
          size_t length = tg_json_unescape(text + position + 1, contentEnd - position - 1, name, sizeof name);
          key = table.find(name, length, sizeof name);
        } else {
          key = TG_KEY_OTHER;
        }
        json->at++;
        if (!json->has()) return token->kind = json->fail("text ends too early", json->length);
        if (text[json->here()] != ':') return token->kind = json->fail("expected :", json->here());
        json->at++;
        if (!json->has()) return token->kind = json->fail("text ends too early", json->length);
        position = json->here();
        if (isPicky && !(wanted->words[key >> 6] >> (key & 63) & 1)) {
          uint8_t first = text[position];
          if (first == '}' || first == ']' || first == ',' || first == ':' || !skipValue(json)) {
            return token->kind = json->fail("expected a value", position);
          }
          frame->count++;
          continue;
        }
      }
      frame->count++;
    }
    json->isStarted = true;
    token->key = key;
    token->parent = frame ? frame->key : static_cast<uint16_t>(TG_KEY_NONE);
    token->depth = static_cast<uint16_t>(json->depth);
    token->start = position;
    token->end = position + 1;
    token->has_escapes = false;
    switch (text[position]) {
      case '{':
      case '[': {
        if (json->depth >= depthLimit) return token->kind = json->fail("nested too deeply", position);
        bool isObject = text[position] == '{';
        if (json->frames.size() <= json->depth) json->frames.resize(json->depth + 16);
        json->frames[json->depth++] = Frame{isObject, key, 0, 0};
        json->at++;
        return token->kind = isObject ? TG_JSON_OBJECT_BEGIN : TG_JSON_ARRAY_BEGIN;
      }
      case '"': {
        size_t contentEnd;
        if (!json->readString(position, contentEnd, token->decoded_length, token->has_escapes)) {
          return token->kind = TG_JSON_ERROR;
        }
        token->start = position + 1;
        token->end = contentEnd;
        json->at++;
        return token->kind = TG_JSON_STRING;
      }
      case '-': case '0': case '1': case '2': case '3': case '4': case '5': case '6': case '7': case '8': case '9': {
        size_t end = json->scalarEnd(position);
        if (!json->isNumber(position, end)) return token->kind = json->fail("bad number", position);
        token->end = end;
        json->at++;
        if (frame && !frame->isObject) {
          frame->numbers++;
          continue;
        }
        return token->kind = TG_JSON_NUMBER;
      }
      default: {
        size_t end = json->scalarEnd(position);
        size_t length = end - position;
        token->end = end;
        if (length == 4 && std::memcmp(text + position, "true", 4) == 0) {
          token->kind = TG_JSON_TRUE;
        } else if (length == 5 && std::memcmp(text + position, "false", 5) == 0) {
          token->kind = TG_JSON_FALSE;
        } else if (length == 4 && std::memcmp(text + position, "null", 4) == 0) {
          token->kind = TG_JSON_NULL;
        } else {
          return token->kind = json->fail("expected a value", position);
        }
        json->at++;
        return token->kind;
      }
    }
  }
}

}  // namespace

uint8_t tg_json_next(tg_json *json, tg_json_token *token) { return nextToken<false>(json, token, nullptr); }

uint8_t tg_json_next_of(tg_json *json, tg_json_token *token, const tg_json_keys *wanted) {
  return nextToken<true>(json, token, wanted);
}

bool tg_json_skip(tg_json *json) {
  if (json->error || json->depth == 0) return false;
  size_t open = 1;
  for (; json->has(); json->at++) {
    switch (json->text[json->here()]) {
      case '{': case '[':
        open++;
        break;
      case '}': case ']':
        if (--open == 0) {
          json->at++;
          json->depth--;
          return true;
        }
        break;
      default:
        break;
    }
  }
  json->fail("text ends too early", json->length);
  return false;
}

const char *tg_json_error(const tg_json *json) { return json->error ? json->error : ""; }
size_t tg_json_error_position(const tg_json *json) { return json->errorPosition; }

void tg_json_trim(tg_json *json, size_t keep) {
  if (json->implementation && json->implementation->capacity() > keep) json->implementation.reset();
  json->at = json->indexCount = json->depth = 0;
  json->windowEnd = json->length;
}
