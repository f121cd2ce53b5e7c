// Makes OpenSSL visible to Swift, with typed forms of macros that Swift cannot read. It must not define _GNU_SOURCE: debug and
// sanitizer builds fail with it.
#pragma once
#include <openssl/err.h>
#include <openssl/ssl.h>

static const uint64_t tg_ssl_server_options =
    SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE;
static const unsigned long tg_err_system_flag = ERR_SYSTEM_FLAG;
#if defined(SSL_OP_IGNORE_UNEXPECTED_EOF)
static const uint64_t tg_ssl_ignore_unexpected_eof = SSL_OP_IGNORE_UNEXPECTED_EOF;
#else
static const uint64_t tg_ssl_ignore_unexpected_eof = 0;
#endif
