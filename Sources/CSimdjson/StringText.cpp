// The text of JSON strings, and the search for bytes by the C library; see CSimdjson.h.
#include "CSimdjson.h"
#include "HexQuad.h"

#include <cstring>

size_t tg_json_unescape(const uint8_t *raw, size_t length, uint8_t *out, size_t capacity) {
  size_t written = 0;
  auto put = [&](uint32_t byte) {
    if (written < capacity) out[written++] = static_cast<uint8_t>(byte);
  };
  for (size_t i = 0; i < length; i++) {
    if (raw[i] != '\\' || i + 1 >= length) {
      put(raw[i]);
      continue;
    }
    i++;
    switch (raw[i]) {
      case 'b': put('\b'); break;
      case 'f': put('\f'); break;
      case 'n': put('\n'); break;
      case 'r': put('\r'); break;
      case 't': put('\t'); break;
      case 'u': {
        int32_t unit = i + 4 < length ? hexQuad(raw + i + 1) : -1;
        if (unit < 0) break;
        i += 4;
        uint32_t scalar = static_cast<uint32_t>(unit);
        if (unit >= 0xD800 && unit < 0xE000) {
          int32_t low = unit < 0xDC00 && i + 6 < length && raw[i + 1] == '\\' && raw[i + 2] == 'u' ? hexQuad(raw + i + 3) : -1;
          if (low >= 0xDC00 && low < 0xE000) {
            scalar = 0x10000 + ((static_cast<uint32_t>(unit) - 0xD800) << 10) + (static_cast<uint32_t>(low) - 0xDC00);
            i += 6;
          } else {
            scalar = 0xFFFD;
          }
        }
        if (scalar < 0x80) {
          put(scalar);
        } else if (scalar < 0x800) {
          put(0xC0 | scalar >> 6);
          put(0x80 | (scalar & 63));
        } else if (scalar < 0x10000) {
          put(0xE0 | scalar >> 12);
          put(0x80 | (scalar >> 6 & 63));
          put(0x80 | (scalar & 63));
        } else {
          put(0xF0 | scalar >> 18);
          put(0x80 | (scalar >> 12 & 63));
          put(0x80 | (scalar >> 6 & 63));
          put(0x80 | (scalar & 63));
        }
        break;
      }
      default: put(raw[i]); break;
    }
  }
  return written;
}

// Multiplies to twice the width and folds: each bit of the result depends on all bits of both.
static uint64_t folded(uint64_t one, uint64_t other) {
  unsigned __int128 product = static_cast<unsigned __int128>(one) * other;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

static uint64_t printOf(const uint8_t *text, size_t length, uint64_t sum) {
  constexpr uint64_t odd = 0x9E3779B97F4A7C15u, other = 0xD1B54A32D192ED03u;
  uint64_t words[2];
  size_t at = 0;
  for (; length - at >= 16; at += 16) {
    std::memcpy(words, text + at, 16);
    sum = folded(words[0] ^ odd ^ sum, words[1] ^ other);
  }
  words[0] = words[1] = 0;
  if (at < length) std::memcpy(words, text + at, length - at);
  return folded(words[0] ^ odd ^ sum, words[1] ^ other);
}

uint64_t tg_text_print(const uint8_t *text, size_t length) {
  constexpr size_t part = 32 << 10;
  if (length <= 2 * part) return printOf(text, length, length);
  return printOf(text + length - part, part, printOf(text, part, length));
}

ptrdiff_t tg_find(const uint8_t *bytes, size_t length, const uint8_t *wanted, size_t wanted_length) {
  auto found = static_cast<const uint8_t *>(memmem(bytes, length, wanted, wanted_length));
  return found ? found - bytes : -1;
}

ptrdiff_t tg_find_byte(const uint8_t *bytes, size_t length, uint8_t wanted) {
  auto found = static_cast<const uint8_t *>(std::memchr(bytes, wanted, length));
  return found ? found - bytes : -1;
}
