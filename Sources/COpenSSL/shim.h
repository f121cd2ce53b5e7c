// Makes OpenSSL visible to Swift. It must not define _GNU_SOURCE: debug and sanitizer builds fail with it.
#pragma once
#include <openssl/err.h>
#include <openssl/ssl.h>
