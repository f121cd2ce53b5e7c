// Makes <zstd.h> visible to Swift. It must not define _GNU_SOURCE: debug and sanitizer builds fail with it.
#pragma once
#include <zstd.h>
