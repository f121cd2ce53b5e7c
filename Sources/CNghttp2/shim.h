// Makes <nghttp2/nghttp2.h> visible to Swift. It must not define _GNU_SOURCE: debug and sanitizer builds fail with it.
#pragma once
#include <nghttp2/nghttp2.h>
