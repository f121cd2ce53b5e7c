// Makes libcurl visible to Swift, with typed forms of its variadic functions.
// It must not define _GNU_SOURCE: debug and sanitizer builds fail with it.
#pragma once
#include <curl/curl.h>

static inline CURLcode tg_curl_set_long(CURL *handle, CURLoption option, long value) {
  return curl_easy_setopt(handle, option, value);
}
