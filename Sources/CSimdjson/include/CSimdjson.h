// A C face on simdjson's on-demand parser: only what ProviderWire asks.
#pragma once
#include <stddef.h>
#include <stdint.h>
