// Makes OpenSSL visible to Swift, with typed forms of macros that Swift cannot read. It must not define _GNU_SOURCE: debug and
// sanitizer builds fail with it.
#pragma once
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>

/// What both sides speak over TLS, in the form of ALPN and in the order in which we prefer it.
static const unsigned char tg_ssl_protocols[] = {2, 'h', '2', 8, 'h', 't', 't', 'p', '/', '1', '.', '1'};

/// Offers them as a client; 0 where OpenSSL takes the offer.
static inline int tg_ssl_offer_protocols(SSL_CTX *context) {
  return SSL_CTX_set_alpn_protos(context, tg_ssl_protocols, sizeof tg_ssl_protocols);
}

static inline int tg_ssl_choose_protocol(
    SSL *ssl, const unsigned char **chosen, unsigned char *length, const unsigned char *offered, unsigned int offered_length,
    void *context) {
  (void)ssl, (void)context;
  int found = SSL_select_next_proto(
      (unsigned char **)chosen, length, tg_ssl_protocols, sizeof tg_ssl_protocols, offered, offered_length);
  return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

/// Chooses among them as a server; a client that offers others only is refused.
static inline void tg_ssl_choose_protocols(SSL_CTX *context) {
  SSL_CTX_set_alpn_select_cb(context, tg_ssl_choose_protocol, 0);
}

/// The major version of HTTP that ALPN settled on: 2 or 1; 0 where nothing was offered.
static inline int tg_ssl_http_version(const SSL *ssl) {
  const unsigned char *name = 0;
  unsigned int length = 0;
  SSL_get0_alpn_selected(ssl, &name, &length);
  if(length == 2 && memcmp(name, "h2", 2) == 0) return 2;
  return length == 8 && memcmp(name, "http/1.1", 8) == 0 ? 1 : 0;
}

/// Whether libcurl encrypts with this library. `name` is what libcurl calls its library: `OpenSSL/3.0.19`. Two TLS
/// libraries may be in one process, and neither can use the objects of the other.
static inline int tg_ssl_is_library(const char *name) {
#if defined(OPENSSL_VERSION_STRING)
  return name && strncmp(name, "OpenSSL/", 8) == 0 && strcmp(name + 8, OpenSSL_version(OPENSSL_VERSION_STRING)) == 0;
#else
  return 0;
#endif
}

/// Makes a client's connection, which another library has opened, read and write the socket itself. From then on it
/// calls no function of that library. That library must not hold bytes that it has read. 0 where OpenSSL has no memory.
static inline int tg_ssl_take_over(SSL *ssl, int descriptor) {
  if(SSL_set_fd(ssl, descriptor) != 1) return 0;
  SSL_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  // Reads a record by one system call; otherwise its head and the rest take one call each.
  SSL_set_read_ahead(ssl, 1);
  SSL_CTX_sess_set_new_cb(SSL_get_SSL_CTX(ssl), 0);
  return 1;
}

/// Returns how many deciphered bytes were read: 0 at the end of the connection, -1 where there are none now, -2 where
/// the connection is broken.
static inline int tg_ssl_read(SSL *ssl, void *buffer, int most) {
  ERR_clear_error();
  errno = 0;
  int count = SSL_read(ssl, buffer, most);
  if(count > 0) return count;
  switch(SSL_get_error(ssl, count)) {
  case SSL_ERROR_WANT_READ:
  case SSL_ERROR_WANT_WRITE: return -1;
  case SSL_ERROR_ZERO_RETURN: return 0;
  // The connection ended without close_notify: OpenSSL 1.1 reports that in this way, OpenSSL 3 in the next.
  case SSL_ERROR_SYSCALL: return errno == 0 ? 0 : -2;
#if defined(SSL_R_UNEXPECTED_EOF_WHILE_READING)
  case SSL_ERROR_SSL: return ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING ? 0 : -2;
#endif
  default: return -2;
  }
}

/// Returns how many bytes were taken: -1 where none can be taken now, -2 where the connection is broken.
static inline int tg_ssl_write(SSL *ssl, const void *bytes, int count) {
  ERR_clear_error();
  int taken = SSL_write(ssl, bytes, count);
  if(taken > 0) return taken;
  int error = SSL_get_error(ssl, taken);
  return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? -1 : -2;
}

static const uint64_t tg_ssl_server_options =
    SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE;
static const unsigned long tg_err_system_flag = ERR_SYSTEM_FLAG;

/// Undoes two settings of libcurl: that an end without close_notify counts as an orderly end, and that TLS 1.2 sessions
/// are not resumed by ticket.
static inline void tg_ssl_require_goodbye_and_use_tickets(SSL_CTX *context) {
#if defined(SSL_OP_IGNORE_UNEXPECTED_EOF)
  SSL_CTX_clear_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF);
#endif
  SSL_CTX_clear_options(context, SSL_OP_NO_TICKET);
}
