// Makes OpenSSL visible to Swift, with typed forms of macros that Swift cannot read. It must not define _GNU_SOURCE: debug and
// sanitizer builds fail with it.
#pragma once
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

static const uint64_t tg_ssl_server_options =
    SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE;
static const unsigned long tg_err_system_flag = ERR_SYSTEM_FLAG;
#if defined(SSL_OP_IGNORE_UNEXPECTED_EOF)
static const uint64_t tg_ssl_ignore_unexpected_eof = SSL_OP_IGNORE_UNEXPECTED_EOF;
#else
static const uint64_t tg_ssl_ignore_unexpected_eof = 0;
#endif
