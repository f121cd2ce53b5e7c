// Makes libcurl visible to Swift, with typed forms of its variadic functions, and sets the process up for it.
// It must not define _GNU_SOURCE: debug and sanitizer builds fail with it.
#pragma once
#include <curl/curl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#if defined(__GLIBC__)
#include <malloc.h>
#endif

// Easy handles.

static inline CURLcode tg_curl_set_long(CURL *handle, CURLoption option, long value) {
  return curl_easy_setopt(handle, option, value);
}

static inline CURLcode tg_curl_set_size(CURL *handle, CURLoption option, curl_off_t value) {
  return curl_easy_setopt(handle, option, value);
}

static inline CURLcode tg_curl_set_pointer(CURL *handle, CURLoption option, const void *value) {
  return curl_easy_setopt(handle, option, value);
}

static inline CURLcode tg_curl_set_text(CURL *handle, CURLoption option, const char *value) {
  return curl_easy_setopt(handle, option, value);
}

static inline CURLcode tg_curl_set_body_sink(CURL *handle, curl_write_callback sink, void *context) {
  CURLcode code = curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, sink);
  return code ? code : curl_easy_setopt(handle, CURLOPT_WRITEDATA, context);
}

static inline CURLcode tg_curl_set_header_sink(CURL *handle, curl_write_callback sink, void *context) {
  CURLcode code = curl_easy_setopt(handle, CURLOPT_HEADERFUNCTION, sink);
  return code ? code : curl_easy_setopt(handle, CURLOPT_HEADERDATA, context);
}

static inline CURLcode tg_curl_set_before_request(CURL *handle, curl_prereq_callback callback, void *context) {
  CURLcode code = curl_easy_setopt(handle, CURLOPT_PREREQFUNCTION, callback);
  return code ? code : curl_easy_setopt(handle, CURLOPT_PREREQDATA, context);
}

static inline CURLcode tg_curl_set_open_socket(CURL *handle, curl_opensocket_callback callback, void *context) {
  CURLcode code = curl_easy_setopt(handle, CURLOPT_OPENSOCKETFUNCTION, callback);
  return code ? code : curl_easy_setopt(handle, CURLOPT_OPENSOCKETDATA, context);
}

static inline CURLcode tg_curl_set_close_socket(CURL *handle, curl_closesocket_callback callback, void *context) {
  CURLcode code = curl_easy_setopt(handle, CURLOPT_CLOSESOCKETFUNCTION, callback);
  return code ? code : curl_easy_setopt(handle, CURLOPT_CLOSESOCKETDATA, context);
}

/// Called with OpenSSL's context before each TLS handshake.
static inline CURLcode tg_curl_set_tls_setup(CURL *handle, curl_ssl_ctx_callback callback) {
  return curl_easy_setopt(handle, CURLOPT_SSL_CTX_FUNCTION, callback);
}

static inline long tg_curl_get_long(CURL *handle, CURLINFO info) {
  long value = 0;
  curl_easy_getinfo(handle, info, &value);
  return value;
}

static inline curl_off_t tg_curl_get_size(CURL *handle, CURLINFO info) {
  curl_off_t value = 0;
  curl_easy_getinfo(handle, info, &value);
  return value;
}

static inline void *tg_curl_get_context(CURL *handle) {
  char *value = 0;
  curl_easy_getinfo(handle, CURLINFO_PRIVATE, &value);
  return value;
}

/// OpenSSL's object of the connection that the handle last read from or wrote to; null where there is none, or where libcurl encrypts
/// with something else.
static inline void *tg_curl_get_tls(CURL *handle) {
  struct curl_tlssessioninfo *info = 0;
  if(curl_easy_getinfo(handle, CURLINFO_TLS_SSL_PTR, &info) != CURLE_OK || !info) return 0;
  return info->backend == CURLSSLBACKEND_OPENSSL ? info->internals : 0;
}

/// The library with which libcurl encrypts: `OpenSSL/3.0.19`.
static inline const char *tg_curl_tls_library(void) { return curl_version_info(CURLVERSION_NOW)->ssl_version; }

/// The socket of a handle that only connected; -1 where there is none.
static inline int tg_curl_get_socket(CURL *handle) {
  curl_socket_t value = CURL_SOCKET_BAD;
  curl_easy_getinfo(handle, CURLINFO_ACTIVESOCKET, &value);
  return (int)value;
}

/// One system call for both parts; as `send`, and never a SIGPIPE where the system can be told so.
static inline ssize_t tg_send_two(
    int socket, const void *first, size_t first_length, const void *second, size_t second_length) {
  struct iovec parts[2] = {{(void *)first, first_length}, {(void *)second, second_length}};
  struct msghdr message = {0};
  message.msg_iov = first_length ? parts : parts + 1;
  message.msg_iovlen = first_length && second_length ? 2 : 1;
#ifdef MSG_NOSIGNAL
  return sendmsg(socket, &message, MSG_NOSIGNAL);
#else
  return sendmsg(socket, &message, 0);
#endif
}

// Multi and share handles.

static inline CURLMcode tg_curl_multi_set_long(CURLM *multi, CURLMoption option, long value) {
  return curl_multi_setopt(multi, option, value);
}

static inline CURLMcode tg_curl_multi_set_socket_callback(CURLM *multi, curl_socket_callback callback, void *context) {
  CURLMcode code = curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, callback);
  return code ? code : curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, context);
}

static inline CURLMcode tg_curl_multi_set_timer_callback(
    CURLM *multi, curl_multi_timer_callback callback, void *context) {
  CURLMcode code = curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, callback);
  return code ? code : curl_multi_setopt(multi, CURLMOPT_TIMERDATA, context);
}

/// The handle of the next transfer that ended, and how; null where there is none.
static inline CURL *tg_curl_next_done(CURLM *multi, CURLcode *result) {
  int left = 0;
  CURLMsg *message;
  while((message = curl_multi_info_read(multi, &left))) {
    if(message->msg == CURLMSG_DONE) {
      *result = message->data.result;
      return message->easy_handle;
    }
  }
  return 0;
}

static inline CURLSHcode tg_curl_share(CURLSH *share, curl_lock_data what) {
  return curl_share_setopt(share, CURLSHOPT_SHARE, what);
}

// The process.

/// Once per process, before any other call: libcurl's own state; large upload buffers from the heap instead of a
/// fresh mapping each; and no death by SIGPIPE, which OpenSSL's writes to a closed socket raise.
static inline int tg_curl_prepare_process(void) {
#if defined(__GLIBC__)
  mallopt(M_MMAP_THRESHOLD, 4 << 20);
  mallopt(M_TRIM_THRESHOLD, 32 << 20);
#endif
  struct sigaction current;
  if(sigaction(SIGPIPE, 0, &current) == 0 && current.sa_handler == SIG_DFL) signal(SIGPIPE, SIG_IGN);
  return (int)curl_global_init(CURL_GLOBAL_DEFAULT);
}

/// Takes code out of resident memory that only the start has run: what is needed on comes back from the page cache with a fault for
/// each 64 KiB. Code alone: it is never written to, where read-only data may have been relocated.
static inline void tg_process_release_code(void) {
#if defined(__linux__)
  FILE *maps = fopen("/proc/self/maps", "re");
  if(!maps) return;
  char line[512];
  while(fgets(line, sizeof line, maps)) {
    unsigned long begin, end;
    char access[5];
    if(sscanf(line, "%lx-%lx %4s", &begin, &end, access) == 3 && strcmp(access, "r-xp") == 0 && strchr(line, '/'))
      madvise((void *)begin, end - begin, MADV_DONTNEED);
    while(!strchr(line, '\n') && fgets(line, sizeof line, maps)) {}
  }
  fclose(maps);
#endif
}

/// Gives free heap pages back to the system; milliseconds of work, for idle moments.
static inline void tg_curl_release_free_memory(void) {
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
}
