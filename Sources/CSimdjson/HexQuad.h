// The digits of numbers and of `\uXXXX`, for the walk and for the reader of strings.
#ifndef HEX_QUAD_H
#define HEX_QUAD_H

#include <cstdint>

inline bool isDigit(uint8_t byte) { return byte >= '0' && byte <= '9'; }

// The digit's value; -1 where it is none.
inline int hexDigit(uint8_t byte) {
  if (isDigit(byte)) return byte - '0';
  byte |= 0x20;
  return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

// The four digits as a number; -1 where they are none.
inline int32_t hexQuad(const uint8_t *at) {
  int32_t value = 0;
  for (int i = 0; i < 4; i++) {
    int digit = hexDigit(at[i]);
    if (digit < 0) return -1;
    value = value << 4 | digit;
  }
  return value;
}

#endif
